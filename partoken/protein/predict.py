"""Predicts classes, tokens and importance for structures, from nothing but a checkpoint; imports no Lightning."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from partoken.errors import UserError, check_number
from partoken.protein.answers import LabelAnswer, Prediction, answer_label, only_label
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.batch import ChainBatch, collate
from partoken.protein.chains.features import ResidueFeatures, open_features
from partoken.protein.chains.one_type import describe_one_type, one_type
from partoken.protein.explanation.folder import PREDICTIONS, ExplainedChain, check_folder, write_explanations
from partoken.protein.explanation.introduction import introduce_importance
from partoken.protein.model.importance import check_method, explain
from partoken.protein.model.labels import split_logits
from partoken.protein.model.partoken import ParTokenOutput
from partoken.protein.model.saved import load_network
from partoken.protein.sources.content import MAX_FILE_MB
from partoken.protein.sources.finding import list_structures
from partoken.protein.sources.reading import read_file
from partoken.protein.sources.structures import check_any
from partoken.system.device import choose_device
from partoken.system.files import atomic_write
from partoken.system.skipped import Skipped, write_skipped
from partoken.system.tables import TableWriter
from partoken.system.user_files import check_output

__all__ = ["LabelAnswer", "Prediction", "Predictor", "predict_files"]

Answer = TypeVar("Answer")

BATCH_RESIDUES = 8192
"""Largest number of residues in a batch, unless a single chain has more."""


class Predictor:
    """Classifies structures with a trained network.

    Arguments:
        checkpoint: A `.ckpt` file of a run, or the name of weights that ship with the package: "enzymes", which are
            also "pretrained".
        device: Device of the network, as in `torch.device`; None takes a GPU if there is one.
        residue_features: NPZ file or folder with features of the residues by id of the chain, for a network that was
            trained with such features; None: there are none.
        max_file_mb: largest size of a file, unpacked, in units of 2^20 bytes.

    Raises:
        UserError: the checkpoint does not exist, is damaged, or contains no ParToken network; the device is unknown; or
            the network needs residue features and they are not given, are of another width, or it does not need them.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        device: str | None = None,
        residue_features: str | os.PathLike[str] | None = None,
        max_file_mb: float = MAX_FILE_MB,
    ) -> None:
        check_number("max_file_mb", max_file_mb, above=0)
        saved = load_network(checkpoint)
        self.features = _open_matching(residue_features, saved.network.settings.feature_width, checkpoint)
        self.device = choose_device(device)
        self.network = saved.network.to(self.device)
        self.labels = {label.name: label for label in saved.labels}
        """The labels that the network answers, by name; "" is the name of a single one."""
        self.reading = {**saved.reading, "max_file_mb": max_file_mb, "keep_names": True}
        self.about = saved.about
        """What is known of weights that ship, such as the chains that they learned from; empty for those of a run."""
        self.skipped: list[Skipped] = []
        """Files and chains that the latest prediction could not read, with the reasons."""
        self.notes: Counter[str] = Counter()
        """Number of residues, chains or models that each kind of cleaning changed in the latest prediction."""
        self.one_type: list[str] = []
        """Chains of the latest prediction whose residues are nearly all of one type: their sequence carries nothing."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, if the network answers a single label.

        Raises:
            UserError: it answers several.
        """
        return only_label(self.labels, "labels").class_names

    def predict(self, *paths: str | os.PathLike[str]) -> list[Prediction]:
        """Classifies the chains of files, folders, tar archives and globs; see `skipped` for those it could not read.

        Raises:
            UserError: a path does not exist, or no file matches a glob.
        """
        return list(self.stream(paths))

    def stream(self, paths: Iterable[str | os.PathLike[str]], *, progress: bool = False) -> Iterator[Prediction]:
        """Yields predictions in the order of the files, with constant memory.

        Structures are read with the limits of the training data.

        Arguments:
            paths: Files, folders and globs.
            progress: True shows a progress bar.

        Raises:
            UserError: a path does not exist, or no file matches a glob.
        """
        yield from self._read(paths, self.classify, progress)

    def explain(self, *paths: str | os.PathLike[str], method: str | None = None) -> list[Prediction]:
        """Classifies the chains of files, folders and globs, with the importance of each residue.

        Arguments:
            paths: Files, folders and globs.
            method: One of `partoken.protein.model.importance.METHODS`; None: `default_method`.

        Raises:
            UserError: as for `predict`; or the network does not support the method.
        """
        check_method(method, self.network)
        return list(self._read(paths, lambda chains: self.explain_chains(chains, method), progress=False))

    def _read(
        self,
        paths: Iterable[str | os.PathLike[str]],
        answer: Callable[[list[Backbone]], Iterable[Answer]],
        progress: bool,
    ) -> Iterator[Answer]:
        """Yields the answers for the chains of the paths, which are answered in batches."""
        files, self.skipped = list_structures(paths)
        self.notes, self.one_type = Counter(), []
        waiting: list[Backbone] = []
        for file in tqdm(files, unit=" files", disable=not progress):
            content = read_file(file, **self.reading)
            self.skipped += content.skipped
            self.notes += content.notes
            self.one_type += [chain.id for chain in content.chains if one_type(chain.sequence)]
            for chain in self.with_features(content.chains):
                if waiting and sum(map(len, waiting)) + len(chain) > BATCH_RESIDUES:
                    yield from answer(waiting)
                    waiting = []
                waiting.append(chain)
        if waiting:
            yield from answer(waiting)

    def with_features(self, chains: list[Backbone]) -> Iterator[Backbone]:
        """Yields the chains that have the features that the network needs, and skips the others."""
        for chain in chains:
            length = len(chain) if self.features is None else self.features.length(chain.id)
            if length == len(chain):
                yield chain
                continue
            assert self.features is not None
            reason = f"no features in {self.features.path}"
            if length is not None:
                reason = f"{length} rows in {self.features.path} for {len(chain)} residues"
            self.skipped.append(Skipped(chain.id, chain.fields.get("file", ""), reason))

    @torch.inference_mode()
    def classify(self, chains: list[Backbone]) -> list[Prediction]:
        """Classifies chains in one batch; all have residue features if the network needs them."""
        batch = self._collate(chains)
        return self._describe(chains, batch, self.network(**batch.inputs()))

    def explain_chains(self, chains: list[Backbone], method: str | None = None) -> list[Prediction]:
        """Classifies chains in one batch, with the importance of each residue; otherwise as `classify`.

        Raises:
            UserError: the network does not support the method.
        """
        batch = self._collate(chains)
        found = explain(self.network, list(self.labels.values()), batch.inputs(), method)
        importance = found.importance.cpu().split(batch.ptr.diff().tolist())
        predictions = self._describe(chains, batch, found.output)
        pairs = zip(predictions, importance, strict=True)
        return [replace(prediction, residue_importance=values.tolist()) for prediction, values in pairs]

    def _collate(self, chains: list[Backbone]) -> ChainBatch:
        features = None if self.features is None else self.features.read_all(chain.id for chain in chains)
        return collate(chains, features=features).to(self.device)

    def _describe(self, chains: list[Backbone], batch: ChainBatch, output: ParTokenOutput) -> list[Prediction]:
        """Returns the answers in words."""
        labels = list(self.labels.values())
        parts = split_logits(output.logits.float(), labels)
        contributions = {name: split_logits(scores, labels) for name, scores in output.contributions.items()}
        answers = [
            answer_label(label, parts[label.name], {name: part[label.name] for name, part in contributions.items()})
            for label in labels
        ]
        tokens, importance = output.tokens.cpu(), output.importance.float().cpu()
        cluster_mask = output.cluster_mask.cpu()
        lengths = batch.ptr.diff().tolist()
        assignments = output.assignment.cpu().split(lengths)
        attention = None if output.attention is None else output.attention.float().cpu().split(lengths)
        predictions = []
        for i, chain in enumerate(chains):
            present = cluster_mask[i].nonzero().flatten().tolist()
            residues = [(assignments[i] == k).nonzero().flatten().tolist() for k in present]
            predictions.append(
                Prediction(
                    id=chain.id,
                    file=chain.fields.get("file", ""),
                    answers={label.name: of_label[i] for label, of_label in zip(labels, answers, strict=True)},
                    tokens=tokens[i, present].tolist(),
                    importance=importance[i, present].tolist(),
                    residues=residues,
                    attention={} if attention is None else dict(zip(self.labels, attention[i].T.tolist(), strict=True)),
                    numbers=_numbers(chain),
                )
            )
        return predictions

    def write(
        self,
        paths: Iterable[str | os.PathLike[str]],
        out: str | os.PathLike[str],
        *,
        progress: bool = False,
    ) -> int:
        """Writes a CSV file with one row per chain, completely or not at all.

        The columns are `id, file, class, confidence`, `p_NAME` for each class, and, with one value per substructure,
        `tokens`, `importance` and `residues` (ranges joined by commas, counted from 1 along the chain). If the network
        answers several labels, each has its own `class_LABEL`, `confidence_LABEL` and `p_LABEL_NAME`. The last columns,
        `from_PART` or `from_PART_LABEL`, say which fraction of the answer came from which part. Skipped files are
        listed in a second file, see `skipped_beside`.

        Arguments:
            paths: Files, folders and globs.
            out: The CSV file; an existing one is replaced.
            progress: True shows a progress bar.

        Returns:
            The number of rows.

        Raises:
            UserError: no chain could be read, `out` is no CSV file, or its folder does not exist.
        """
        out = Path(out)
        for written in (out, skipped_beside(out)):
            check_output("--out", written, ".csv")
        rows = 0
        with atomic_write(out) as file:
            writer = TableWriter(file)
            writer.writerow(self._header())
            for prediction in self.stream(paths, progress=progress):
                writer.writerow(_row(prediction))
                rows += 1
            check_any(rows, self.skipped)
        if self.skipped:
            write_skipped(skipped_beside(out), self.skipped)
        return rows

    def write_explanations(
        self,
        paths: Iterable[str | os.PathLike[str]],
        out: str | os.PathLike[str],
        *,
        method: str | None = None,
        progress: bool = False,
    ) -> int:
        """Writes a folder: predictions, the importance of each residue, structures coloured by it, and scripts.

        Arguments:
            paths: Files, folders and globs.
            out: The folder, which is created; files of the same names are replaced. Skipped files are listed in it.
            method: One of `partoken.protein.model.importance.METHODS`; None: `default_method`.
            progress: True shows a progress bar.

        Returns:
            The number of chains.

        Raises:
            UserError: no chain could be read, `out` is a file, a structure that was read would be replaced, or the
                network does not support the method.
        """
        out = Path(out)
        check_folder(out)
        check_method(method, self.network)

        def answer(chains: list[Backbone]) -> Iterator[ExplainedChain]:
            for chain, prediction in zip(chains, self.explain_chains(chains, method), strict=True):
                yield ExplainedChain(chain, _row(prediction), prediction.residue_importance, _membership(prediction))

        chains = write_explanations(out, self._header(), self._read(paths, answer, progress))
        check_any(chains, self.skipped)
        skipped = skipped_beside(out / PREDICTIONS)
        skipped.unlink(missing_ok=True)
        if self.skipped:
            write_skipped(skipped, self.skipped)
        return chains

    def _header(self) -> list[str]:
        columns = []
        for name, label in self.labels.items():
            of_label = f"_{name}" if name else ""
            columns += [f"class{of_label}", f"confidence{of_label}", *(f"p{of_label}_{c}" for c in label.class_names)]
        origins = [
            f"from_{part.replace(' ', '_')}{f'_{name}' if name else ''}"
            for name in self.labels
            for part in self.network.parts
        ]
        return ["id", "file", *columns, "tokens", "importance", "residues", *origins]


def predict_files(
    checkpoint: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    device: str | None = None,
    residue_features: str | os.PathLike[str] | None = None,
    max_file_mb: float = MAX_FILE_MB,
    explain: bool = False,
    importance: str | None = None,
    **options: Any,
) -> Iterator[str]:
    """Classifies structures into a CSV file or a folder, and yields lines for the user: `partoken predict`.

    Arguments:
        checkpoint: as for `Predictor`.
        paths: as for `Predictor.write`.
        out: as for `Predictor.write`.
        device: as for `Predictor`.
        residue_features: as for `Predictor`.
        max_file_mb: as for `Predictor`.
        explain: True writes a folder, see `Predictor.write_explanations`.
        importance: method of the importance of residues; None: the default.
        options: of other domains.

    Raises:
        UserError: as for `Predictor` and `Predictor.write`; or an option is given that has no effect, or `out` is a
            folder without `explain`.
    """
    if importance is not None and not explain:
        raise UserError(f"--importance {importance}: has no effect without --explain; add it, with a folder as --out")
    for name in options:
        raise UserError(f"--{name.replace('_', '-')}: {checkpoint} classifies structures, which have no such option")
    if not explain and (Path(out).is_dir() or str(out).endswith(os.sep)):
        raise UserError(
            f"--out {out}: is a folder; {checkpoint} classifies structures, so name a CSV file, or add --explain"
        )
    if explain:
        check_folder(Path(out))
    else:
        check_output("--out", out, ".csv")
    check_number("--max-file-mb", max_file_mb, above=0)
    predictor = Predictor(checkpoint, device, residue_features, max_file_mb)
    if predictor.about:
        yield from introduce(predictor.about)
    if explain:
        method = check_method(importance, predictor.network)
        yield introduce_importance(predictor.about, list(predictor.labels.values()), method)
        chains = predictor.write_explanations(paths, out, method=method, progress=True)
        yield f"{chains} chains explained, see {Path(out) / 'residues.csv'}"
    else:
        rows = predictor.write(paths, out, progress=True)
        yield f"{rows} chains classified, see {out}"
    if predictor.notes:
        yield f"cleaned: {', '.join(f'{kind} {count:,}' for kind, count in predictor.notes.items())}"
    if predictor.one_type:
        yield describe_one_type(predictor.one_type)
    if predictor.skipped:
        skipped = skipped_beside(Path(out) / PREDICTIONS if explain else Path(out))
        yield f"{len(predictor.skipped)} files or chains skipped, see {skipped}"


def introduce(about: Mapping[str, Any]) -> Iterator[str]:
    """Yields lines on weights that ship: what they learned from, and how often they are right.

    Arguments:
        about: As in `Predictor.about`.
    """
    clusters = f"{about['chains']:,} chains of {about['clusters']:,} clusters"
    yield f"{about['title']}: trained on {clusters} of similar chains, see {about['list']}"
    scores = "; ".join(
        f"{label} {own['accuracy']:.2f} (most frequent class {own['most_frequent']:.2f}, {own['chains']:,} chains)"
        for label, own in about["test"].items()
    )
    yield f"accuracy on chains of other clusters: {scores}"


def _open_matching(
    path: str | os.PathLike[str] | None, width: int, checkpoint: str | os.PathLike[str]
) -> ResidueFeatures | None:
    """Opens the residue features of a network that reads `width` of them for each residue; 0: it reads none."""
    if path is None:
        if width:
            raise UserError(
                f"{checkpoint} was trained with {width} features of each residue: give those of these chains with "
                "--residue-features FILE, or in Python with residue_features=FILE"
            )
        return None
    if not width:
        raise UserError(f"--residue-features {path}: {checkpoint} was trained without such features; leave them out")
    features = open_features(path)
    if features.width != width:
        raise UserError(
            f"--residue-features {path} has {features.width} features of each residue, but {checkpoint} was trained "
            f"with {width}; make the file as that of the training was made"
        )
    return features


def skipped_beside(out: Path) -> Path:
    """Returns the path of the list of skipped files, next to the predictions.

    >>> skipped_beside(Path("results/p.csv")).name
    'p.skipped.csv'
    """
    return out.with_name(f"{out.stem}.skipped.csv")


def ranges(numbers: list[int]) -> str:
    """Writes sorted residue numbers, counted from 0, as ranges counted from 1.

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


def _numbers(chain: Backbone) -> list[str]:
    """Returns the number of each residue with its insertion code; nothing if the chain is from no structure file."""
    if chain.names is None:
        return []
    return [number + code for number, code in zip(chain.names.numbers, chain.names.insertion_codes, strict=True)]


def _membership(prediction: Prediction) -> list[int]:
    """Returns the substructure of each residue of an explained chain, numbered from 0; -1 for none."""
    numbers = [-1] * len(prediction.residue_importance)
    for number, residues in enumerate(prediction.residues):
        for residue in residues:
            numbers[residue] = number
    return numbers


def _row(p: Prediction) -> list[str]:
    columns = []
    for answer in p.answers.values():
        probabilities = [f"{probability:.6f}" for probability in answer.probabilities.values()]
        columns += [answer.label, f"{answer.confidence:.6f}", *probabilities]
    return [
        p.id,
        p.file,
        *columns,
        " ".join(map(str, p.tokens)),
        " ".join(f"{weight:.4f}" for weight in p.importance),
        " ".join(map(ranges, p.residues)),
        *(f"{share:.3f}" for answer in p.answers.values() for share in answer.parts.values()),
    ]
