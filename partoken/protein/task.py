"""ParToken as a Lightning module: the loss, its steps and their evaluation."""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainBatch, is_labelled
from partoken.protein.chains.label_spec import SCORES, LabelSpec, label_names, read_label_columns
from partoken.protein.evaluation import MEAN_SCORES, evaluate, join_scores, score_parts
from partoken.protein.losses import class_weights, sum_loss
from partoken.protein.metrics import codebook_usage, partition_statistics
from partoken.protein.model.codebook import Codebook
from partoken.protein.model.feature_input import check_feature_width
from partoken.protein.model.labels import learned_labels, shares, split_logits
from partoken.protein.model.partoken import ParToken, ParTokenOutput
from partoken.protein.model.settings import feature_width, split_settings
from partoken.protein.model.shipped import begin_encoder, choose_init
from partoken.protein.model.standardise import Standardise
from partoken.protein.summary import summarise_test
from partoken.system.distributed import Rows, draw, num_processes, total
from partoken.training.module import ScheduledModule, metric_names
from partoken.training.stages import is_under

__all__ = ["CALIBRATION_CHAINS", "ParTokenTask"]

log = logging.getLogger(__name__)

CALIBRATION_CHAINS = 64
"""Latest training chains, on all devices, on which the running averages for evaluation are measured."""
LATEST_KEY = "partoken_latest_rows"
"""Where a checkpoint within an epoch has the rows of the latest training batches."""
_TERMS = ("loss", "task", "summary", "parts", "vq", "entropy", "coverage")


_UNLABELLED = "data.unlabelled=true: this model learns labels; set it to false, or pretrain with experiment=pretrain"


class ParTokenTask(ScheduledModule):
    """Trains `ParToken` to classify chains.

    See also:
        `LossSettings` for the loss, `NetworkSettings` for the network, and `partoken.training.domain.Task` for the
        contract with the engine.

    Arguments:
        train: The train config as a plain dictionary.
        data: The result of the data module's `settings()`: `class_names`, `class_counts`, `train_chains` and
            `multi_label` of a single label, or `labels`, a mapping from names to these keys and `weight`;
            `residue_features` with their width; and `source` with the limits for reading structures. Checkpoints
            contain it, so they suffice for prediction.
        model: The flat keys of `conf/model/partoken.yaml`; a missing key takes its default.

    Raises:
        UserError: a key of `model` is unknown, or its value is not allowed.
    """

    class_weights: Tensor
    predict_module = "partoken.protein.predict"
    has_page = True
    decides_no_tensor = ("init", "frozen_encoder")
    read_at_start = ("init",)
    unit = "residues"
    epoch_line = ("train_loss", "val_loss", "val_accuracy", "val_macro_f1")
    metrics = (*metric_names(SCORES, _TERMS), "val_used_codes")

    def __init__(
        self,
        *,
        train: Mapping[str, Any],
        data: Mapping[str, Any],
        **model: Any,
    ) -> None:
        super().__init__(train)
        self.save_hyperparameters()
        settings, loss = split_settings(model)
        settings = replace(settings, feature_width=feature_width(data))
        self.labels = learned_labels(data)
        if not self.labels:
            raise UserError(_UNLABELLED)
        for label in self.labels:
            _check_balance(loss.class_balance, label.name, label.multi_label)
        if settings.feature_width:
            self.predict_options = ("--residue-features FILE",)
        self.init = choose_init(settings, loss.init)
        self.coordinate_noise = loss.coordinate_noise
        self.loss_weights = {
            "vq": loss.lambda_vq,
            "entropy": loss.lambda_ent,
            "coverage": loss.lambda_psc,
            "summary": loss.lambda_summary,
            "parts": loss.lambda_parts,
        }
        self.network = ParToken([len(label.class_names) for label in self.labels], settings)
        _check_parts(loss.lambda_parts, self.network)
        _check_summary(loss.lambda_summary, self.network)
        is_frozen = self.init == "pretrained" if loss.frozen_encoder is None else loss.frozen_encoder
        loss.check_noise(is_frozen)
        if is_frozen:
            self.network.freeze_encoder()
        self._set_class_prior(loss.class_balance)
        self._evaluated: list[dict[str, Tensor]] = []
        self._latest: deque[ChainBatch] = deque()
        self._resumed_rows: list[list[int]] = []
        self.test_results: dict[str, Any] = {}

    @classmethod
    def outline(cls, *, train: Mapping[str, Any], **model: Any) -> Self:
        """Creates the task for two classes without memory for its weights; see `ScheduledModule.outline`."""
        data = {"class_names": ["a", "b"], "class_counts": {"train": [1, 1]}, "train_chains": 2, "multi_label": False}
        with torch.device("meta"):
            return cls(train=train, data=data, **model)

    @classmethod
    def metrics_of(cls, groups: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns the metrics of a run: of several labels, the mean scores and those of each."""
        names = label_names(groups.get("data", {}).get("label_columns"))
        if not names:
            return cls.metrics
        scores = [*MEAN_SCORES, "loss", *(f"{name}_{score}" for name in names for score in SCORES)]
        return (*metric_names(scores, [*_TERMS, *(f"{name}_loss" for name in names)]), "val_used_codes")

    @classmethod
    def check_groups(cls, groups: Mapping[str, Any]) -> None:
        """Checks that there are labels, and that classes are balanced only where a chain has one."""
        balance, data = groups["model"].get("class_balance", 0.0), groups["data"]
        if data.get("unlabelled"):
            raise UserError(_UNLABELLED)
        several, columns = data.get("multi_label", False), data.get("label_columns")
        single = (LabelSpec(multi_label=several),)
        for spec in single if columns is None else read_label_columns(columns, multi_label=several):
            _check_balance(balance, spec.name, spec.multi_label)

    def _set_class_prior(self, balance: float) -> None:
        """Weights the classes, and starts the network at their weighted frequencies in the training chains."""
        weights, priors = zip(*(class_weights(label, balance) for label in self.labels), strict=True)
        self.network.head.set_prior(torch.cat(priors))
        self.register_buffer("class_weights", torch.cat(weights), persistent=False)

    def load_weights(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads the weights with which a stage starts: all, or the encoder's alone.

        The encoder's alone are taken from a pretraining, and from a network for other classes.

        Arguments:
            checkpoint: content of a checkpoint of an earlier stage or of another run.

        Raises:
            UserError: the weights are of another architecture.
        """
        data = checkpoint.get("hyper_parameters", {}).get("data", self.hparams["data"])
        if (
            _classes(data) == _classes(self.hparams["data"])
            and "network.head.classify.0.weight" in checkpoint["state_dict"]
        ):
            super().load_weights(checkpoint)
            return
        settings, parts = self.network.settings, self._encoder_parts
        self.check_weights(checkpoint, parts)
        own = {name: value for name, value in checkpoint["state_dict"].items() if is_under(name, parts)}
        self.load_state_dict(own, strict=False)
        if self.network.tau.is_meta:  # an outline, which is only checked
            return
        log.info("the encoder starts with given weights, the other parts of the model with new ones")
        neighbors = checkpoint.get("hyper_parameters", {}).get("num_neighbors", settings.num_neighbors)
        if neighbors != settings.num_neighbors:
            log.warning(
                "model.num_neighbors=%d: the encoder was trained with %d, so its features differ from those that it "
                "learned",
                settings.num_neighbors,
                neighbors,
            )

    @property
    def _encoder_parts(self) -> list[str]:
        return [f"network.{part}" for part in self.network.encoder_parts]

    @property
    def _datamodule(self) -> Any:
        """The data of the run; None in a run on loaders alone."""
        return getattr(self.trainer, "datamodule", None)

    def _embed_data(self) -> None:
        """Lets the data module add fold geometry, surroundings and the embeddings of a frozen encoder to its batches.

        The few batches of `trainer.overfit_batches` were made before, so the network computes them in each step.
        """
        data = self._datamodule
        add_folds = getattr(data, "add_folds", None)
        if self.network.fold_branch is not None and add_folds is not None:
            add_folds()
        add_surroundings = getattr(data, "add_surroundings", None)
        if self.network.reads_surroundings and add_surroundings is not None:
            add_surroundings()
        embed = getattr(data, "embed", None)
        if self.network.is_encoder_frozen and embed is not None:
            embed(self.network.fingerprint(), self._encode, self.network.residue_channels)

    @torch.no_grad()
    def _encode(self, batch: ChainBatch) -> Tensor:
        """Computes residue embeddings as in a prediction: in evaluation mode and full precision."""
        was_training = self.training
        self.eval()
        inputs = batch.to(self.device).inputs()
        inputs["coords"] = inputs["coords"].to(self.network.tau.dtype)
        features, _ = self.network.embed(**inputs)
        self.train(was_training)
        return features

    def begin(self, given: str | None) -> None:
        """Starts with the encoder that ships, if `model.init` says so and no other weights are given."""
        begin_encoder(self.network, self.init, given)

    def check_weights(self, checkpoint: Mapping[str, Any], parts: Sequence[str] | None = None) -> None:
        """Rejects the checkpoint of another model, also one with other residue features or other classes."""
        check_feature_width(checkpoint, self.network.settings.feature_width)
        super().check_weights(checkpoint, parts)
        if parts is None:
            _check_classes(checkpoint, self.hparams["data"])

    def batch_units(self, batch: ChainBatch) -> int:
        """Counts the residues of a batch."""
        return batch.coords.shape[0]

    def forward(self, batch: ChainBatch) -> ParTokenOutput:
        """Classifies a batch; see `ParToken.forward`."""
        return self.network(**batch.inputs())

    def loss(
        self,
        output: ParTokenOutput,
        labels: Mapping[str, Tensor],
        rows: Rows | None = None,
        of_chains: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss, a scalar, and its terms before their weights.

        The term `task` is the weighted mean over the labels of `NAME_loss`, the mean over the chains that have the
        label; a label that no chain of the batch has adds 0. On several devices the mean over the devices is the loss
        of the batch of all devices.

        Arguments:
            output: Output for a batch of B chains.
            labels: Labels by name, see `ChainBatch.labels`.
            rows: The place of the chains in the batch of all devices; None: there is one device.
            of_chains: Weights of the chains, see `ChainBatch.weights`; None: they count the same.
        """
        counts = torch.stack([is_labelled(labels[label.name]).sum() for label in self.labels])
        counts = total(counts.to(output.logits.dtype)).clamp(min=1)
        losses = self._label_losses(output.logits, labels, counts, of_chains)
        terms = {"task": self._mean_loss(losses), **output.losses}
        if self.loss_weights["summary"] and self.network.partitioner is not None:
            second_answer = self.network.head.answer_from_summary(output.summary, rows)
            terms["summary"] = self._mean_loss(self._label_losses(second_answer, labels, counts, of_chains))
        if self.loss_weights["parts"] and len(self.network.parts) > 1:
            prior = self.network.head.prior
            alone = [
                self._mean_loss(self._label_losses(prior + scores, labels, counts, of_chains))
                for scores in output.contributions.values()
            ]
            terms["parts"] = torch.stack(alone).mean()
        weights = {"task": 1.0, **self.loss_weights}
        weighted = [weights[name] * term for name, term in terms.items() if weights[name]]
        if len(self.labels) > 1:
            terms |= {f"{label.name}_loss": term for label, term in zip(self.labels, losses, strict=True)}
        return sum(weighted), terms

    def _label_losses(
        self, logits: Tensor, labels: Mapping[str, Tensor], counts: Tensor, of_chains: Tensor | None
    ) -> list[Tensor]:
        """Computes the loss of each label, whose mean over the devices is the mean over its chains on all devices.

        Arguments:
            logits: Scores of all classes.
            labels: Labels by name.
            counts: Chains on all devices that have each label, `[labels]`.
            of_chains: Weights of the chains; None: they count the same.
        """
        sums = self._sum_losses(logits, labels, of_chains)
        return [loss * num_processes() / count for loss, count in zip(sums, counts, strict=True)]

    def _sum_losses(
        self, logits: Tensor, labels: Mapping[str, Tensor], of_chains: Tensor | None = None
    ) -> list[Tensor]:
        """Computes for each label the sum of the losses of the chains that have it."""
        parts = split_logits(logits, self.labels)
        weights = split_logits(self.class_weights.to(logits.device), self.labels)
        return [
            sum_loss(
                parts[label.name], labels[label.name], None if label.multi_label else weights[label.name], of_chains
            )
            for label in self.labels
        ]

    def _mean_loss(self, losses: Sequence[Tensor]) -> Tensor:
        weighted = [share * loss for share, loss in zip(shares(self.labels), losses, strict=True) if share]
        return torch.stack(weighted).sum()

    def freeze_parts(self, parts: tuple[str, ...]) -> None:
        """Freezes the named modules with their codes and running averages, and unfreezes all others.

        Arguments:
            parts: Names of modules as in `named_modules`, for example `("network.codebook", "network.head")`.
        """
        if self.network.is_encoder_frozen:
            parts = (*parts, *self._encoder_parts)
        super().freeze_parts(parts)
        for name, module in self.named_modules():
            if isinstance(module, Codebook | Standardise):
                module.frozen = is_under(name, parts)

    def on_fit_start(self) -> None:
        if (longest := getattr(self._datamodule, "longest", None)) is not None:
            self.network.note_longest(longest)
        self._embed_data()
        fold, train_folds = self.network.fold_branch, getattr(self._datamodule, "train_folds", None)
        if fold is not None and not fold.measured and train_folds is not None:
            fold.set_scale(train_folds().to(self.device))

    def on_test_start(self) -> None:
        self._embed_data()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if num_processes() == 1:  # another device would need the batches that it had itself
            checkpoint[LATEST_KEY] = [batch.index.tolist() for batch in self._latest]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._resumed_rows = checkpoint.get(LATEST_KEY, [])

    def on_train_start(self) -> None:
        read = getattr(self._datamodule, "read_training", None)
        rows, self._resumed_rows = self._resumed_rows, []
        if read is not None:
            own = (self.trainer.precision_plugin.convert_input(read(batch)) for batch in rows)
            self._latest.extend(self.trainer.strategy.batch_to_device(batch) for batch in own)

    def on_train_epoch_start(self) -> None:
        self.network.set_epoch(self.run_epoch)

    def training_step(self, batch: ChainBatch, batch_idx: int) -> Tensor:
        self._remember(batch)
        if self.coordinate_noise:
            noise = self.coordinate_noise * draw(batch.coords, Tensor.normal_, batch.share and batch.share.residues)
            batch = replace(batch, coords=batch.coords + noise)
        output = self(batch)
        loss, terms = self.loss(output, batch.labels, _rows(batch), batch.weights)
        self.log_training({"loss": loss, **terms}, _num_chains(batch))
        return loss

    def on_validation_start(self) -> None:
        self._embed_data()
        self._calibrate()

    def on_train_epoch_end(self) -> None:
        self._calibrate()

    def validation_step(self, batch: ChainBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: ChainBatch, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        results = self._compute_results()
        values = {**results["scores"], "used_codes": float(results["codebook"]["used_codes"])}
        self.log_dict({f"val_{name}": value for name, value in values.items()}, sync_dist=True)

    def on_test_epoch_end(self) -> None:
        self.test_results = self._compute_results()
        scores = self.test_results["scores"]
        self.log_dict({f"test_{name}": value for name, value in scores.items()}, sync_dist=True)

    def summary(self) -> dict[str, Any]:
        """Returns the model's part of `summary.json`; see `partoken.training.domain.Task.summary`.

        `baselines` has the regressions of `partoken.protein.baselines` if the data module describes its chains, and
        `tables` has the scores on chains of seen and unseen families if the data module knows families.
        Beside the keys of the contract: `majority`, the baseline with its class, and `majority_accuracy`; `codebook`,
        `partition` and `parts`, the numbers in `facts`; `classes`, their names; `class_counts`, chains of each class in
        each split; `confusion_matrix`, `[true class][predicted class]`, or None if a chain may have several classes.
        With several labels, `majority`, `majority_accuracy`, `parts`, `classes`, `class_counts` and `confusion_matrix`
        have these for each label, by its name.
        """
        return summarise_test(
            self.labels,
            self.test_results,
            self.network.settings,
            self._datamodule,
            is_main_process=self.trainer.is_global_zero,
        )

    def _remember(self, batch: ChainBatch) -> None:
        """Keeps the latest training batches, as few as hold `CALIBRATION_CHAINS` chains."""
        self._latest.append(batch)
        while sum(map(_num_chains, self._latest)) - _num_chains(self._latest[0]) >= CALIBRATION_CHAINS:
            self._latest.popleft()

    def _calibrate(self) -> None:
        """Measures the running averages on the latest training batches, if there were any since the last call."""
        if self._latest:
            with self.trainer.precision_plugin.forward_context():
                self.network.calibrate(batch.inputs() for batch in self._latest)
            self._latest.clear()

    def _evaluate(self, batch: ChainBatch) -> None:
        """Stores the outputs for a batch until the end of the evaluation."""
        output = self(batch)
        loss, terms = self.loss(output, batch.labels, _rows(batch))
        other_terms = total((loss - terms["task"]).detach()) / num_processes()
        self._evaluated.append(
            {
                **{f"label {name}": label for name, label in batch.labels.items()},
                **{f"part {name}": scores.float() for name, scores in output.contributions.items()},
                "logits": output.logits.float(),
                "other_terms": other_terms.float().expand(len(batch)),
                "tokens": output.tokens,
                "sizes": _substructure_sizes(output, batch.ptr),
                "lengths": batch.ptr.diff(),
                "index": batch.index,
            }
        )

    def _collect_outputs(self) -> dict[str, Tensor]:
        """Concatenates the stored outputs of all devices, chain by chain, and forgets them."""
        parts, self._evaluated = self._evaluated, []
        outputs = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        if num_processes() > 1:
            gathered: list[Any] = [None] * num_processes()
            own = {key: value.cpu() for key, value in outputs.items()}
            torch.distributed.all_gather_object(gathered, own)
            outputs = {key: torch.cat([part[key] for part in gathered]) for key in outputs}
        return outputs

    def _compute_results(self) -> dict[str, Any]:
        """Scores an evaluation on all devices, beside the best answer that ignores the structure."""
        outputs = self._collect_outputs()
        truth = {label.name: outputs[f"label {label.name}"] for label in self.labels}
        sums = self._sum_losses(outputs["logits"], truth)
        logits = split_logits(outputs["logits"], self.labels)
        results = evaluate(self.labels, logits, truth, sums)
        parts = {name.removeprefix("part "): scores for name, scores in outputs.items() if name.startswith("part ")}
        task_loss = sum(
            share * result.loss for share, result in zip(shares(self.labels), results.values(), strict=True)
        )
        return {
            "scores": {**join_scores(self.labels, results), "loss": task_loss + float(outputs["other_terms"].mean())},
            "labels": results,
            "parts": score_parts(self.labels, outputs["logits"], truth, parts),
            "index": outputs["index"],
            "logits": logits,
            "truth": truth,
            "codebook": codebook_usage(outputs["tokens"], self.network.settings.codebook_size),
            "partition": partition_statistics(outputs["sizes"], outputs["lengths"]),
        }


def _classes(data: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Returns the names and classes of the labels in the settings of data."""
    return [(label.name, label.class_names) for label in learned_labels(data)]


def _check_classes(checkpoint: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Rejects a checkpoint whose classes have other names than those of the data, or another order."""
    theirs, ours = _classes(checkpoint.get("hyper_parameters", {}).get("data", data)), _classes(data)
    for (name, known), (_, found) in zip(theirs, ours, strict=True):
        if known != found:
            label = f" of label {name}" if name else ""
            raise UserError(
                f"the checkpoint is of other classes{label}: {', '.join(known)} there, {', '.join(found)} here; set "
                "data.label_column, data.label_columns, data.classes and data.class_names as in its run"
            )


def _check_balance(balance: float, label: str, multi_label: bool) -> None:
    if balance and multi_label:
        where = f"data.label_columns.{label}" if label else "data"
        raise UserError(
            f"model.class_balance={balance}: must be 0 with {where}.multi_label=true, "
            "because a chain then has no single class to weight it by"
        )


def _check_summary(weight: float, network: ParToken) -> None:
    """Rejects a second answer from the summary if no classifier reads the summary."""
    head = network.head
    if weight and head.standardise_answer is not None and head.classify_summary is None:
        raise UserError(
            f"model.lambda_summary={weight}: with model.combine=sum and model.classify_from=substructures no "
            "classifier reads the summary; set model.classify_from=both, or model.lambda_summary=0"
        )


def _check_parts(weight: float, network: ParToken) -> None:
    """Rejects a loss of single parts that a gate has mixed."""
    if weight and network.head.gate is not None:
        raise UserError(
            f"model.lambda_parts={weight}: a gate mixes substructures and summary, so they have no answers of their "
            "own; set model.combine=sum, or model.lambda_parts=0"
        )


def _rows(batch: ChainBatch) -> Rows | None:
    """Returns the place of the chains in the batch of all devices; None: there is one device."""
    assert batch.share is not None or num_processes() == 1, "the sampler gives each device's batch its place"
    return batch.share and batch.share.chains


def _num_chains(batch: ChainBatch) -> int:
    """Counts the chains of a batch on all devices."""
    return batch.share.chains.total if batch.share else len(batch)


def _substructure_sizes(output: ParTokenOutput, ptr: Tensor) -> Tensor:
    """Counts the residues of each substructure, `[B, K]` int64."""
    num_chains, max_clusters = output.tokens.shape
    chain = torch.repeat_interleave(torch.arange(num_chains, device=ptr.device), ptr.diff())
    assigned = output.assignment >= 0
    cell = chain[assigned] * max_clusters + output.assignment[assigned]
    counts = torch.bincount(cell, minlength=num_chains * max_clusters)
    return counts.view(num_chains, max_clusters)
