"""Kinds of stages that only protein runs have. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from partoken.errors import UserError, check_number
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage

if TYPE_CHECKING:
    from torch import nn

    from partoken.protein.chains.batch import ChainBatch
    from partoken.protein.task import ParTokenTask

__all__ = ["CodebookStart"]

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
