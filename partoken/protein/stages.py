"""Kinds of stages that only protein runs have. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from partoken.errors import UserError, check_number
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage

if TYPE_CHECKING:
    from torch import nn

    from partoken.protein.chains.batch import ChainBatch
    from partoken.protein.task import ParTokenTask

__all__ = ["CodebookStart", "Pretrain"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodebookStart(TrainStage[TrainSettings]):
    """A stage that first places the codes of ParToken by k-means on real substructures.

    Raises:
        UserError: a value that cannot be used, or a network that uses no codes.
    """

    kmeans_batches: int = 16
    """Training batches whose substructures k-means reads, 1 or more; at most those of an epoch are read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(f"{self.path}.kmeans_batches", self.kmeans_batches, minimum=1, whole=True)

    def check_model(self, model: nn.Module) -> None:
        """Rejects a network without codes; see `TrainStage.check_model`."""
        settings = getattr(getattr(model, "network", None), "settings", None)
        if settings is None or settings.partition == "none":
            raise UserError(f"{self.path}: k-means needs a codebook; this model has none (model.partition=none)")
        if settings.bypass_codebook:
            raise UserError(f"{self.path}: k-means needs a codebook; set model.bypass_codebook=false in this stage")
        super().check_model(model)

    def prepare(self, model: ParTokenTask, batches: Iterable[ChainBatch]) -> None:  # type: ignore[override]
        """Places the codes by k-means on the substructures of `kmeans_batches` training batches."""
        count = 0

        def counted() -> Any:
            nonlocal count
            for batch in islice(batches, self.kmeans_batches):
                count += 1
                yield batch.inputs()

        with model.trainer.precision_plugin.forward_context():
            substructures = model.network.init_codebook(counted())
        read = f"{substructures:,} substructures of {count} batch{'es' * (count != 1)}"
        log.info("%d codes placed by k-means on %s", model.network.settings.codebook_size, read)


@dataclass(frozen=True)
class Pretrain(TrainStage[TrainSettings]):
    """A stage that trains the encoder alone: it predicts hidden residue types. Any chain joins, labelled or not.

    The next stage starts with the encoder; the head for residue types is dropped. See
    `partoken.protein.pretraining.MaskedResidueTask`.

    Raises:
        UserError: a value that cannot be used.
    """

    settings_of_kind: ClassVar[Mapping[str, Any]] = {"monitor": "val_loss", "monitor_mode": "min"}

    mask_fraction: float = 0.5
    """Fraction of the residues whose type is hidden, above 0 and at most 1. It has no effect on an encoder that never
    reads a residue's own type, such as `model.encoder=frames` without residue features: it predicts all residues."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(f"{self.path}.mask_fraction", self.mask_fraction, above=0, maximum=1)

    def groups(self, groups: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the groups of this stage: the network of the run with another task, and chains without labels."""
        of_stage = super().groups(groups)
        task = {"_target_": "partoken.protein.pretraining.MaskedResidueTask", "mask_fraction": self.mask_fraction}
        model, data = {**of_stage["model"], **task}, {**of_stage["data"], "unlabelled": True}
        return {**of_stage, "model": model, "data": data}
