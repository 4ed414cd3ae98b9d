"""Classes, tokens and importance for structures that the model has never seen; the checkpoint alone suffices."""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.batch import collate
from partoken.protein.sources.finding import list_structures
from partoken.protein.sources.reading import read_file
from partoken.protein.task import ParTokenTask
from partoken.system.checkpoint import read_checkpoint
from partoken.system.files import atomic_write
from partoken.system.skipped import Skipped, write_skipped

__all__ = ["Prediction", "Predictor"]

BATCH_RESIDUES = 8192


@dataclass(frozen=True)
class Prediction:
    """What the model says of one chain."""

    id: str
    """The chain's name: its file's, followed by the chain's own where the file has several."""
    file: str
    """Where it was read."""
    label: str
    """The class; where a chain may have several, all with a probability of one half or more, joined by semicolons."""
    probabilities: dict[str, float]
    """Of each class."""
    tokens: list[int]
    """The code of each substructure."""
    importance: list[float]
    """The weight of each substructure in the answer; the sum is 1."""
    residues: list[list[int]]
    """The residues of each substructure, counted from 0 along the chain."""

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return max(self.probabilities.values())


class Predictor:
    """Loads a trained ParToken from a checkpoint.

    Arguments:
        checkpoint: written by a run; read with `weights_only=True`.
        device: where to compute; None takes a GPU if there is one.

    Raises:
        UserError: no such file, a damaged one, or one that holds no ParToken.
    """

    def __init__(self, checkpoint: str | os.PathLike[str], device: str | None = None) -> None:
        content = read_checkpoint(checkpoint)
        settings = content.get("hyper_parameters", {})
        if not {"train", "data", "lambda_vq"} <= set(settings):
            raise UserError(f"{checkpoint} holds no ParToken model: its hyper-parameters are {sorted(settings)}")
        self.task = ParTokenTask(**settings).eval()
        self.task.load_state_dict(content["state_dict"])
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.task.to(self.device)
        self.class_names = self.task.class_names
        self.reading = settings["data"]["source"]["reading"]
        self.skipped: list[Skipped] = []

    def predict(self, *paths: str | os.PathLike[str]) -> list[Prediction]:
        """Classifies the chains of files, folders and globs; `skipped` then tells what could not be read, and why."""
        return list(self.stream(paths))

    def stream(self, paths: Iterable[str | os.PathLike[str]], *, progress: bool = False) -> Iterator[Prediction]:
        """Yields the predictions as they are made, in the order of the files; memory stays the same.

        Structures are read with the limits that the training data were read with.
        """
        files, self.skipped = list_structures(paths)
        waiting: list[Backbone] = []
        for file in tqdm(files, unit=" files", disable=not progress):
            content = read_file(file, **self.reading)
            self.skipped += content.skipped
            for chain in content.chains:
                if waiting and sum(map(len, waiting)) + len(chain) > BATCH_RESIDUES:
                    yield from self.classify(waiting)
                    waiting = []
                waiting.append(chain)
        if waiting:
            yield from self.classify(waiting)

    @torch.inference_mode()
    def classify(self, chains: list[Backbone]) -> list[Prediction]:
        """Classifies chains in one batch."""
        batch = collate(chains).to(self.device)
        output = self.task(batch)
        squash = torch.sigmoid if self.task.multi_label else lambda logits: logits.softmax(-1)
        shares = squash(output.logits.float()).cpu()
        tokens, importance = output.tokens.cpu(), output.importance.float().cpu()
        assignments = output.assignment.cpu().split(batch.ptr.diff().tolist())
        found = []
        for i, chain in enumerate(chains):
            present = (tokens[i] >= 0).nonzero().flatten().tolist()
            found.append(
                Prediction(
                    id=chain.id,
                    file=chain.fields.get("file", ""),
                    label=self._label(shares[i]),
                    probabilities=dict(zip(self.class_names, shares[i].tolist(), strict=True)),
                    tokens=tokens[i, present].tolist(),
                    importance=importance[i, present].tolist(),
                    residues=[(assignments[i] == k).nonzero().flatten().tolist() for k in present],
                )
            )
        return found

    def write(
        self, paths: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str], *, progress: bool = False
    ) -> int:
        """Writes a CSV with a row a chain, whole or not at all, and what was skipped beside it; returns the rows.

        Columns: `id, file, class, confidence`, `p_NAME` for each class, and, one value a substructure, `tokens`,
        `importance` and `residues` (ranges joined by commas, counted from 1 along the chain).

        Raises:
            UserError: no chain could be read; the folder of `out` does not exist.
        """
        out = Path(out)
        if not out.parent.is_dir():
            raise UserError(f"--out {out}: the folder {out.parent} does not exist")
        shares = [f"p_{name}" for name in self.class_names]
        rows = 0
        with atomic_write(out) as file:
            writer = csv.writer(file)
            writer.writerow(["id", "file", "class", "confidence", *shares, "tokens", "importance", "residues"])
            for prediction in self.stream(paths, progress=progress):
                writer.writerow(_row(prediction))
                rows += 1
            if not rows:
                reasons = "\n".join(f"  {s.file or s.id}: {s.reason}" for s in self.skipped[:20])
                raise UserError(f"no protein chain could be read:\n{reasons}")
        if self.skipped:
            write_skipped(skipped_beside(out), self.skipped)
        return rows

    def _label(self, shares: torch.Tensor) -> str:
        if self.task.multi_label:
            return ";".join(name for name, p in zip(self.class_names, shares.tolist(), strict=True) if p >= 0.5)
        return self.class_names[int(shares.argmax())]


def skipped_beside(out: Path) -> Path:
    """Returns where the skipped files of a prediction are listed.

    >>> skipped_beside(Path("found/p.csv")).name
    'p.skipped.csv'
    """
    return out.with_name(f"{out.stem}.skipped.csv")


def ranges(numbers: list[int]) -> str:
    """Writes sorted residues, counted from 0, as ranges counted from 1.

    >>> ranges([0, 1, 2, 6, 8, 9])
    '1-3,7,9-10'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(f"{a + 1}-{b + 1}" if b > a else f"{a + 1}" for a, b in runs)


def _row(p: Prediction) -> list[str]:
    shares = [f"{share:.6f}" for share in p.probabilities.values()]
    tokens, importance = " ".join(map(str, p.tokens)), " ".join(f"{w:.4f}" for w in p.importance)
    return [
        p.id,
        p.file,
        p.label,
        f"{p.confidence:.6f}",
        *shares,
        tokens,
        importance,
        " ".join(map(ranges, p.residues)),
    ]
