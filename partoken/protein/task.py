"""ParToken as a Lightning module: losses, metrics, and what a run says about its model."""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainBatch
from partoken.protein.metrics import (
    codebook_usage,
    constant_answer,
    multi_class,
    multi_label,
    partition_statistics,
)
from partoken.protein.model.partoken import ParToken, ParTokenOutput
from partoken.training.module import ScheduledModule

__all__ = ["CALIBRATION_CHAINS", "ParTokenTask"]

CALIBRATION_CHAINS = 64
"""Training chains on which the averages are measured that evaluation standardises by."""


class ParTokenTask(ScheduledModule):
    """Trains `ParToken` to classify chains: cross entropy + weighted codebook, usage and coverage terms.

    Arguments:
        train: the train config, plain.
        data: what the data module says of itself (`settings()`): `class_names`, `class_counts`, `train_chains`,
            `multi_label`, and how structures are read. It travels in the checkpoint, so that the checkpoint alone can
            predict.
        lambda_vq: weight of the codebook's loss.
        lambda_ent: weight of the usage entropy term.
        lambda_psc: weight of the coverage term.
        lambda_summary: weight of the cross entropy of a second answer, read from the chain's summary alone. It teaches
            the encoder what to look for before the partition has found it.
        class_balance: how much rare classes count for: a chain's loss is weighted by its class's frequency to the power
            of minus this. 0: all chains count alike; 1: all classes do. One label a chain only.
        coordinate_noise: standard deviation, in angstrom, of what is added to every coordinate while training.
        network: arguments of `ParToken`.
    """

    unit = "residues"
    epoch_line = ("train_loss", "val_loss", "val_accuracy", "val_macro_f1")

    def __init__(
        self,
        *,
        train: Mapping[str, Any],
        data: Mapping[str, Any],
        lambda_vq: float = 1.0,
        lambda_ent: float = 1e-3,
        lambda_psc: float = 1e-2,
        lambda_summary: float = 0.0,
        class_balance: float = 0.0,
        coordinate_noise: float = 0.0,
        **network: Any,
    ) -> None:
        super().__init__(train)
        self.save_hyperparameters()
        self.class_names = list(data["class_names"])
        self.multi_label = bool(data["multi_label"])
        self.class_counts = data["class_counts"]
        self.train_chains = data["train_chains"]
        for key, value in {
            "lambda_vq": lambda_vq,
            "lambda_ent": lambda_ent,
            "lambda_psc": lambda_psc,
            "lambda_summary": lambda_summary,
            "coordinate_noise": coordinate_noise,
        }.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UserError(f"model.{key} is {value!r}, but must be a number of at least 0")
        if not 0 <= class_balance <= 1:
            raise UserError(f"model.class_balance is {class_balance!r}, but must be a number from 0 to 1")
        if class_balance and self.multi_label:
            raise UserError("model.class_balance weighs chains by their class; with data.multi_label=true it must be 0")
        self.coordinate_noise = coordinate_noise
        self.weights = {
            "task": 1.0,
            "vq": lambda_vq,
            "entropy": lambda_ent,
            "coverage": lambda_psc,
            "summary": lambda_summary,
        }
        self.network = ParToken(len(self.class_names), **network)
        self._start_classes(class_balance)
        self.codebook_size = network.get("codebook_size", 512)
        self._seen: list[dict[str, Tensor]] = []
        self._recent: deque[ChainBatch] = deque()
        self.tested: dict[str, Any] = {}

    def _start_classes(self, balance: float) -> None:
        """Weighs the classes, and starts the network at their weighted frequencies in the training chains."""
        counts = torch.tensor(self.class_counts["train"], dtype=torch.float32) + 1
        if self.multi_label:
            self.network.head.set_prior(torch.log(counts / (self.train_chains + 2 - counts).clamp(min=1)))
        else:
            share = (counts / counts.sum()) ** (1 - balance)
            self.network.head.set_prior((share / share.sum()).log())
            weights = share / counts
            # The mean over the training chains is one.
            self.register_buffer("class_weights", weights * counts.sum() / (weights * counts).sum(), persistent=False)

    def batch_units(self, batch: ChainBatch) -> int:
        """Counts the residues of a batch."""
        return batch.coords.shape[0]

    def forward(self, batch: ChainBatch) -> ParTokenOutput:
        """Classifies a batch; see `ParToken.forward` for what comes back."""
        return self.network(batch.coords, batch.ptr, batch.sequence)

    def loss(self, output: ParTokenOutput, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss that is trained on, and its terms before weighting.

        Arguments:
            output: of a batch of B chains and C classes.
            label: [B] class numbers, or [B, C] zeros and ones where chains have several labels.
        """
        terms = {"task": self._cross_entropy(output.logits, label), **output.losses}
        if self.weights["summary"] and self.network.partitioner is not None:
            terms["summary"] = self._cross_entropy(self.network.head.logits(output.summary), label)
        return sum(self.weights[name] * term for name, term in terms.items() if self.weights[name]), terms

    def _cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits, label)
        # The mean over chains, not over weights: a batch of rare classes has the larger gradient.
        each = F.cross_entropy(logits, label, reduction="none")
        return (each * self.class_weights[label]).mean()

    def on_train_epoch_start(self) -> None:
        self.network.set_epoch(self.current_epoch)

    def training_step(self, batch: ChainBatch, batch_idx: int) -> Tensor:
        self._remember(batch)
        if self.coordinate_noise:
            noise = self.coordinate_noise * torch.randn_like(batch.coords)
            batch = replace(batch, coords=batch.coords + noise)
        output = self(batch)
        loss, terms = self.loss(output, batch.label)
        size = len(batch)
        found = {"train_loss": loss, **{f"train_{name}": value for name, value in terms.items()}}
        self.log_dict(found, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def on_validation_start(self) -> None:
        self._calibrate()

    def on_train_epoch_end(self) -> None:
        self._calibrate()

    def validation_step(self, batch: ChainBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: ChainBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        metrics = self._gather()
        found = {**metrics["scores"], "used_codes": float(metrics["codebook"]["used_codes"])}
        self.log_dict({f"val_{k}": v for k, v in found.items()}, sync_dist=True)

    def on_test_epoch_end(self) -> None:
        self.tested = self._gather()
        self.log_dict({f"test_{k}": v for k, v in self.tested["scores"].items()}, sync_dist=True)

    def summary(self) -> dict[str, Any]:
        """Returns what the test found, beside the answer of always naming the most frequent training class."""
        scores = self.tested
        return {
            "test": scores["scores"],
            "majority_accuracy": scores["majority"]["accuracy"],
            "majority": scores["majority"],
            "codebook": scores["codebook"],
            "partition": scores["partition"],
            "classes": self.class_names,
            "class_counts": self.class_counts,
            "confusion_matrix": scores["confusion_matrix"],
        }

    def _remember(self, batch: ChainBatch) -> None:
        """Keeps the latest batches, with `CALIBRATION_CHAINS` chains or a few more."""
        self._recent.append(batch)
        while sum(map(len, self._recent)) - len(self._recent[0]) >= CALIBRATION_CHAINS:
            self._recent.popleft()

    def _calibrate(self) -> None:
        """Makes evaluation fit the weights of now, once for each time that they were trained."""
        if self._recent:
            with self.trainer.precision_plugin.forward_context():
                self.network.calibrate((batch.coords, batch.ptr, batch.sequence) for batch in self._recent)
            self._recent.clear()

    def _evaluate(self, batch: ChainBatch) -> None:
        output = self(batch)
        loss, _ = self.loss(output, batch.label)
        self._seen.append(
            {
                "logits": output.logits.float(),
                "label": batch.label,
                "loss": loss.detach().float().expand(len(batch)),
                "tokens": output.tokens,
                "sizes": _sizes(output, batch.ptr),
                "lengths": batch.ptr.diff(),
            }
        )

    def _gather(self) -> dict[str, Any]:
        """Puts together what every device saw in this evaluation, and measures it."""
        seen, self._seen = self._seen, []
        whole = {key: torch.cat([part[key] for part in seen]) for key in seen[0]}
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, {key: value.cpu() for key, value in whole.items()})
            whole = {key: torch.cat([part[key] for part in parts]) for key in whole}
        constant = constant_answer(self.class_counts["train"], self.train_chains, self.multi_label)
        scores, confusion = self._score(whole["logits"], whole["label"])
        majority, _ = self._score(constant.to(whole["logits"]).expand_as(whole["logits"]), whole["label"])
        named = "their frequencies" if self.multi_label else self.class_names[int(constant.argmax())]
        return {
            "scores": {**scores, "loss": float(whole["loss"].mean())},
            "majority": {"class": named, **majority},
            "confusion_matrix": confusion,
            "codebook": codebook_usage(whole["tokens"], self.codebook_size),
            "partition": partition_statistics(whole["sizes"], whole["lengths"]),
        }

    def _score(self, logits: Tensor, label: Tensor) -> tuple[dict[str, float], list[list[int]] | None]:
        return (multi_label(logits, label), None) if self.multi_label else multi_class(logits, label)


def _sizes(output: ParTokenOutput, ptr: Tensor) -> Tensor:
    """Counts the residues of each substructure, `[B, K]`."""
    num_chains, num_clusters = output.tokens.shape
    chain = torch.repeat_interleave(torch.arange(num_chains, device=ptr.device), ptr.diff())
    taken = output.assignment >= 0
    place = chain[taken] * num_clusters + output.assignment[taken]
    return torch.bincount(place, minlength=num_chains * num_clusters).view(num_chains, num_clusters)
