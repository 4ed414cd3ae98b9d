"""A trained network with the chains of its run: the report and the checks of explanations begin here."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.collection import SPLITS
from partoken.protein.dataset.datamodule import ProteinDataModule
from partoken.protein.model.labels import learned_labels
from partoken.protein.predict import Predictor
from partoken.protein.sources.arrays import read_arrays, table_path
from partoken.protein.sources.reading import FileContent, read_file
from partoken.protein.sources.structures import check_any, read_contents
from partoken.system.checkpoint import read_checkpoint
from partoken.system.shipped import find_weights, weights_names
from partoken.system.skipped import Skipped
from partoken.training.recorded import find_checkpoint, find_recorded_data, find_run_folder

__all__ = ["GIVEN", "RunChains", "open_run"]

log = logging.getLogger(__name__)

GIVEN = "given"
"""Split of the structures that a user names beside the run."""


@dataclass(frozen=True, eq=False)
class RunChains:
    """The network of a run's best checkpoint and the chains that the run used, as it used them."""

    checkpoint: Path
    """The checkpoint of the network."""
    folder: Path | None
    """The run folder; None: the checkpoint lies in none."""
    predictor: Predictor
    """The network, ready to classify and to explain these chains."""
    data: ProteinDataModule | None
    """The data of the run, read again; None: there is no run folder."""
    given: Sequence[Backbone] = ()
    """Chains of the structures that the user named, with the names of their residues."""
    skipped: Sequence[Skipped] = ()
    """Structures that the user named and that could not be read."""
    root: Path | None = None
    """Folder of the structure files of the run; None: its chains are from something else."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have chains: those of `SPLITS` if there is a run folder, and `GIVEN`."""
        own = () if self.data is None else SPLITS
        return (*own, GIVEN) if self.given else own

    def ids(self, split: str) -> list[str]:
        """Returns the names of the chains of a split, in the order in which the run evaluates them."""
        return [chain.id for chain in self.given] if split == GIVEN else self._data.dataset(split).ids

    def read(self, split: str, ids: Collection[str] | None = None) -> list[Backbone]:
        """Returns the chains of a split.

        Arguments:
            split: one of `splits`.
            ids: names of the chains to return; None: all. They are returned in the order of the split.
        """
        if split == GIVEN:
            return [chain for chain in self.given if ids is None or chain.id in ids]
        dataset = self._data.dataset(split)
        rows = zip(dataset.rows.tolist(), dataset.ids, strict=True)
        return dataset.store.read(row for row, name in rows if ids is None or name in ids)

    def read_unused(self, ids: Collection[str]) -> list[Backbone]:
        """Returns the chains of some names that the source has and the run does not use, as with `data.limit`."""
        if self.data is None:
            return []
        used = {name for split in SPLITS for name in self.ids(split)}
        store = self.data.collection.store
        return store.read(row for row, name in enumerate(store.ids) if name in ids and name not in used)

    def truth(self, split: str) -> dict[str, dict[str, str]]:
        """Returns the true classes of the chains of a split.

        Returns:
            By id of the chain, the name of its class by the name of the label, "" for the only label. Several classes
            are joined by semicolons. A label that a chain lacks is left out.
        """
        if split == GIVEN:
            return {chain.id: {} for chain in self.given}
        dataset = self._data.dataset(split)
        found: dict[str, dict[str, str]] = {name: {} for name in dataset.ids}
        for label, selected in self._data.selection.labels.items():
            names = selected.class_names
            for chain, encoded in zip(dataset.ids, dataset.labels[label].tolist(), strict=True):
                if isinstance(encoded, list):
                    true = ";".join(name for name, value in zip(names, encoded, strict=True) if value == 1)
                else:
                    true = names[encoded] if encoded >= 0 else ""
                if true:
                    found[chain][label] = true
        return found

    def name_residues(self, chains: Sequence[Backbone]) -> list[Backbone]:
        """Returns chains with the names and numbers of their residues, read again from the structure files of the run.

        A chain that is from no structure file, or whose file has changed, is returned as it is.
        """
        files = {chain.fields.get("file", "") for chain in chains if chain.names is None} - {""}
        again: dict[str, Backbone] = {}
        for file in sorted(files if self.root else ()):
            path = Path(self.root or "", file)
            if path.is_file():
                content = read_file(path, file, **self.predictor.reading)
                again |= {chain.id: chain for chain in content.chains}
        return [
            replace(chain, names=again[chain.id].names)
            if chain.id in again and again[chain.id].letters == chain.letters
            else chain
            for chain in chains
        ]

    @property
    def _data(self) -> ProteinDataModule:
        assert self.data is not None, "a checkpoint without a run folder has the split `given` alone"
        return self.data


def open_run(
    given: str | os.PathLike[str],
    structures: Sequence[str | os.PathLike[str]] = (),
    device: str | None = None,
) -> RunChains:
    """Loads the best checkpoint of a run, and reads the chains of the run again.

    Arguments:
        given: a run folder, a checkpoint, or the name of weights that ship.
        structures: files, folders, tar archives and globs of further chains, or NPZ files as `data=arrays` reads them;
            needed for a checkpoint that lies in no run folder.
        device: as for `Predictor`.

    Raises:
        UserError: there is no such run; its checkpoint is of no network for structures; its data cannot be read again,
            or has other classes now; no chain of `structures` could be read; or there are no chains.
    """
    is_shipped = str(given) in weights_names() and not Path(given).exists()
    checkpoint = find_weights(given) if is_shipped else find_checkpoint(given)
    folder = None if is_shipped else find_run_folder(checkpoint)
    if folder is None and not structures:
        raise UserError(
            f"{given} lies in no run folder with .hydra/config.yaml, so its chains are not known; name structures with "
            "--structures PATH..., or give the folder of a run"
        )
    recorded = None if folder is None else find_recorded_data(folder, read_checkpoint(checkpoint))
    features = None if recorded is None else recorded.group.get("residue_features")
    predictor = Predictor(checkpoint, device, features)  # before the data, which may take long
    chains, skipped = _read_structures(structures, predictor)
    data, root = None, None
    if recorded is not None:
        data = cast(ProteinDataModule, recorded.read())
        _check_unchanged(given, data, predictor)
        root = recorded.group.get("root")
    return RunChains(checkpoint, folder, predictor, data, chains, skipped, root and Path(root))


def _read_structures(
    paths: Sequence[str | os.PathLike[str]], predictor: Predictor
) -> tuple[list[Backbone], list[Skipped]]:
    """Reads the structures that a user names, with the limits of the training data."""
    if not paths:
        return [], []
    chains: dict[str, Backbone] = {}
    predictor.skipped = []
    arrays = [path for path in paths if Path(path).suffix == ".npz"]
    files = [path for path in paths if path not in arrays]
    contents = [_read_archive(path, predictor) for path in arrays]
    skipped = []
    for content in (*contents, *read_contents(files, predictor.reading, workers=1)):
        skipped += content.skipped
        for chain in predictor.with_features(content.chains):
            if chain.id in chains:
                skipped.append(Skipped(chain.id, chain.fields.get("file", ""), "another chain has this name"))
            chains.setdefault(chain.id, chain)
    skipped += predictor.skipped
    check_any(len(chains), skipped)
    return list(chains.values()), skipped


def _read_archive(path: str | os.PathLike[str], predictor: Predictor) -> FileContent:
    """Reads the chains of an NPZ file, whose residues have no author numbers, and the table beside it."""
    lengths = {name: predictor.reading[name] for name in ("min_length", "max_length") if name in predictor.reading}
    items = list(read_arrays(path, with_table=Path(table_path(path)).is_file(), **lengths))
    chains = [item for item in items if isinstance(item, Backbone)]
    return FileContent(chains, [item for item in items if isinstance(item, Skipped)], Counter())


def _check_unchanged(given: str | os.PathLike[str], data: ProteinDataModule, predictor: Predictor) -> None:
    """Rejects data that has other classes than the network, and warns if it has other chains than the training had."""
    for label in learned_labels(data.settings()):
        own = predictor.labels.get(label.name)
        if own is None or own.class_names != label.class_names:
            of_label = f" of {label.name}" if label.name else ""
            raise UserError(
                f"{given}: its data has changed, the classes{of_label} are {', '.join(label.class_names)} now and were "
                f"{', '.join(own.class_names) if own else 'none'}; bring back the data of the run, or train again"
            )
        if own.class_counts != label.class_counts:
            log.warning("%s: its data has other chains now than the checkpoint learned from", given)
