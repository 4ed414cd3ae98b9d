"""Pretraining as a Lightning module: an encoder learns from any chain by predicting hidden residue types."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.chains.backbone import AMINO_ACIDS, UNKNOWN
from partoken.protein.chains.batch import ChainBatch
from partoken.protein.model.feature_input import check_feature_width
from partoken.protein.model.masked import MaskedResidues, choose_evenly
from partoken.protein.model.settings import feature_width, split_settings
from partoken.protein.model.shipped import begin_encoder, choose_init
from partoken.system.distributed import draw, num_processes, total
from partoken.training.module import ScheduledModule, metric_names

__all__ = ["MaskedResidueTask"]


class MaskedResidueTask(ScheduledModule):
    """Trains the encoder of `ParToken` to predict the types of hidden residues; see `MaskedResidues`.

    In training the hidden residues are drawn anew for each batch. In validation and in the test every evaluation hides
    the same residues. A network whose features never know a residue's own type predicts all; see
    `MaskedResidues.predicts_all`.

    Arguments:
        train: The train config as a plain dictionary.
        data: The result of the data module's `settings()`; the checkpoint keeps it.
        mask_fraction: Fraction of the residues whose type is hidden, above 0 and at most 1; see `Pretrain`.
        model: The flat keys of `conf/model/partoken.yaml`. Those of the encoder and `coordinate_noise` count.

    Raises:
        UserError: a key of `model` is unknown, or its value is not allowed.
    """

    decides_no_tensor = ("init", "frozen_encoder")
    unit = "residues"
    epoch_line = ("train_loss", "val_loss", "val_accuracy")
    metrics = metric_names(["loss", "accuracy"], ["loss"])
    residue_counts: Tensor

    def __init__(
        self,
        *,
        train: Mapping[str, Any],
        data: Mapping[str, Any],
        mask_fraction: float,
        **model: Any,
    ) -> None:
        super().__init__(train)
        self.save_hyperparameters()
        settings, loss = split_settings(model)
        settings = replace(settings, feature_width=feature_width(data))
        self.mask_fraction = mask_fraction
        self.init = choose_init(settings, loss.init)
        self.coordinate_noise = loss.coordinate_noise
        self.network = MaskedResidues(settings)
        self.register_buffer("residue_counts", torch.zeros(UNKNOWN, dtype=torch.float64))
        self._loss_sum = torch.zeros((), dtype=torch.float64)
        self._confusion = torch.zeros(UNKNOWN, UNKNOWN, dtype=torch.float64)
        self.test_results: dict[str, Any] = {}

    @classmethod
    def outline(cls, *, train: Mapping[str, Any], **model: Any) -> Self:
        """Creates the task without memory for its weights; see `ScheduledModule.outline`."""
        with torch.device("meta"):
            return cls(train=train, data={}, **model)

    def begin(self, given: str | None) -> None:
        """Starts with the encoder that ships, if `model.init` says so and no other weights are given."""
        begin_encoder(self.network, self.init, given)

    def check_weights(self, checkpoint: Mapping[str, Any], parts: Sequence[str] | None = None) -> None:
        """Rejects the checkpoint of another model, also of one that reads other residue features."""
        check_feature_width(checkpoint, self.network.settings.feature_width)
        super().check_weights(checkpoint, parts)

    def batch_units(self, batch: ChainBatch) -> int:
        """Counts the residues of a batch."""
        return batch.coords.shape[0]

    def on_fit_start(self) -> None:
        longest = getattr(getattr(self.trainer, "datamodule", None), "longest", None)
        if longest is not None:
            self.network.note_longest(longest)

    def training_step(self, batch: ChainBatch, batch_idx: int) -> Tensor:
        rows = batch.share and batch.share.residues
        hidden = _predictable(batch)
        if not self.network.predicts_all:
            hidden &= draw(batch.coords[:, 0, 0], Tensor.uniform_, rows) < self.mask_fraction
        if self.coordinate_noise:
            noise = self.coordinate_noise * draw(batch.coords, Tensor.normal_, rows)
            batch = replace(batch, coords=batch.coords + noise)
        logits, types = self._predict(batch, hidden)
        self.residue_counts += total(torch.bincount(types, minlength=UNKNOWN).double())
        # Each device divides by the residues of all devices, because gradients are averaged over the devices.
        count = total(hidden.sum()).clamp(min=1) / num_processes()
        loss = F.cross_entropy(logits, types, reduction="sum") / count
        self.log_training({"loss": loss}, batch.share.chains.total if batch.share else len(batch))
        return loss

    def validation_step(self, batch: ChainBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: ChainBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        scores = self._compute_results()["scores"]
        self.log_dict({f"val_{name}": value for name, value in scores.items()}, sync_dist=True)

    def on_test_epoch_end(self) -> None:
        self.test_results = self._compute_results()
        scores = self.test_results["scores"]
        self.log_dict({f"test_{name}": value for name, value in scores.items()}, sync_dist=True)

    def summary(self) -> dict[str, Any]:
        """Returns the model's part of `summary.json`; see `partoken.training.domain.Task.summary`."""
        results = self.test_results
        return {
            "test": results["scores"],
            "baselines": {"residue frequencies": results["frequencies"]},
            "facts": {"pretraining": f"{results['residues']:,} hidden residues of the test chains predicted"},
            "matrices": {
                "residue_types": {
                    "title": "Hidden residues of the test chains",
                    "rows": "true",
                    "columns": "predicted",
                    "labels": list(AMINO_ACIDS),
                    "values": results["confusion"],
                }
            },
        }

    def _predict(self, batch: ChainBatch, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the scores `[M, 20]` and the true types `[M]` of the hidden residues."""
        logits = self.network(**batch.inputs(), hidden=hidden)
        return logits, batch.sequence[hidden]

    def _evaluate(self, batch: ChainBatch) -> None:
        """Adds a batch to the sums of the evaluation."""
        hidden = _predictable(batch)
        if not self.network.predicts_all:
            hidden &= choose_evenly(_places(batch.ptr), self.mask_fraction)
        logits, types = self._predict(batch, hidden)
        cells = types * UNKNOWN + logits.argmax(1)
        self._loss_sum += F.cross_entropy(logits, types, reduction="sum").double().cpu()
        self._confusion += torch.bincount(cells, minlength=UNKNOWN**2).view(UNKNOWN, UNKNOWN).double().cpu()

    def _compute_results(self) -> dict[str, Any]:
        """Scores an evaluation on all devices beside the frequencies of the types in training, and forgets it."""
        sums = torch.cat([self._loss_sum[None], self._confusion.flatten()]).to(self.device)
        loss_sum, confusion = total(sums).cpu().split([1, UNKNOWN**2])
        self._loss_sum.zero_(), self._confusion.zero_()
        confusion = confusion.view(UNKNOWN, UNKNOWN)
        counts, count = confusion.sum(1), confusion.sum().clamp(min=1)
        frequency = (self.residue_counts.cpu() + 1) / (self.residue_counts.cpu() + 1).sum()
        return {
            "scores": {"accuracy": float(confusion.diagonal().sum() / count), "loss": float(loss_sum / count)},
            "frequencies": {
                "accuracy": float(counts[frequency.argmax()] / count),
                "loss": float(-(counts * frequency.log()).sum() / count),
            },
            "confusion": confusion.long().tolist(),
            "residues": int(count),
        }


def _predictable(batch: ChainBatch) -> Tensor:
    """Marks the residues with a known type and complete coordinates, `[N]` bool."""
    is_complete = batch.coords[:, :3].isfinite().flatten(1).all(1)
    return is_complete & (batch.sequence < UNKNOWN)


def _places(ptr: Tensor) -> Tensor:
    """Numbers the residues of each chain from 0, `[N]` int64."""
    size = int(ptr[-1])
    return torch.arange(size, device=ptr.device) - torch.repeat_interleave(ptr[:-1], ptr.diff(), output_size=size)
