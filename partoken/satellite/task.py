"""Both trainings as Lightning modules: losses, evaluation, and their parts of a run's summary."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from partoken.errors import UserError
from partoken.satellite import losses
from partoken.satellite.baselines import BASELINES, SCALES, predict_baseline
from partoken.satellite.evaluation import Scoreboard, band_facts
from partoken.satellite.metrics import SCORES
from partoken.satellite.model.discriminator import PatchDiscriminator
from partoken.satellite.model.refiner import Refiner, TwoStages
from partoken.satellite.model.saved import load_translator
from partoken.satellite.model.settings import split_stage1, split_stage2
from partoken.satellite.model.translator import Translator, full_precision
from partoken.satellite.pictures import ShownTiles
from partoken.satellite.tiles.batch import TileBatch
from partoken.system.distributed import num_processes, part_of_mean
from partoken.training.module import ScheduledModule, metric_names

__all__ = ["Stage1Task", "Stage2Task"]

_NUM_FEATURES = 5 * len(SCALES)
_NO_DATA: Mapping[str, Any] = {
    "s1_mean": [0.0] * 2,
    "s1_std": [1.0] * 2,
    "s2_mean": [0.0] * 4,
    "s2_std": [1.0] * 4,
    "baselines": {
        "ridge": {
            "scales": SCALES,
            "mean": [0.0] * _NUM_FEATURES,
            "std": [1.0] * _NUM_FEATURES,
            "weights": [[0.0] * _NUM_FEATURES] * 4,
            "constant": [0.0] * 4,
        }
    },
}
"""What a network needs of `DataModule.settings()`, with values that nobody reads, for an outline."""
OWN = "own"
"""The task's own answer among those that are scored."""


class TileTask(ScheduledModule, ABC):
    """What both stages share: the weighted sum of terms, and the scores beside simple answers."""

    predict_module = "partoken.satellite.predict"
    unit = "tiles"
    epoch_line = ("train_loss", "val_loss", "val_psnr", "val_ssim")

    def __init__(self, train: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        super().__init__(train)
        self.data_settings = data
        self.loss_weights: dict[str, float] = {}
        self._board = Scoreboard()
        self._losses: list[Tensor] = []
        self._shown = ShownTiles()
        self._panels: dict[str, Any] = {}
        self.test_results: dict[str, Any] = {}

    @classmethod
    def outline(cls, *, train: Mapping[str, Any], **model: Any) -> Self | None:
        """Creates the task without data; None with another backbone than the U-Net, whose weights would be read."""
        if model.get("backbone", "unet") != "unet":
            return None
        with torch.device("meta"):
            return cls(train=train, data=_NO_DATA, **model)

    def batch_units(self, batch: TileBatch) -> int:
        """Counts the tiles of a batch."""
        return len(batch)

    @abstractmethod
    def answers(self, batch: TileBatch) -> dict[str, Tensor]:
        """Returns reflectance `[B, 4, H, W]` by the name of the answer; the task's own comes first."""

    @abstractmethod
    def terms(self, answers: Mapping[str, Tensor], batch: TileBatch) -> dict[str, Tensor]:
        """Returns the terms of the loss by name, scalars before their weights."""

    def weigh(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Returns the sum of the terms, each times its weight; a term without weight is left out."""
        weighted = [self.loss_weights[name] * term for name, term in terms.items() if self.loss_weights[name]]
        return torch.stack(weighted).sum() if weighted else torch.zeros((), device=self.device)

    def validation_step(self, batch: TileBatch, batch_idx: int) -> None:
        self._evaluate(batch, self.answers(batch))

    def test_step(self, batch: TileBatch, batch_idx: int) -> None:
        content = self.data_settings["baselines"]
        simple = {name: predict_baseline(name, content, batch) for name in BASELINES}
        answers = {**self.answers(batch), **simple}
        self._evaluate(batch, answers)
        self._shown.add(batch, answers[OWN])

    def on_validation_epoch_end(self) -> None:
        results = self._collect()
        values = {**results["scores"][OWN], "loss": results["loss"]}
        self.log_dict({f"val_{name}": value for name, value in values.items()}, sync_dist=True)

    def on_test_epoch_end(self) -> None:
        self.test_results = self._collect()
        scores = self.test_results["scores"][OWN]
        self.log_dict({f"test_{name}": value for name, value in scores.items()}, sync_dist=True)
        self._panels = self._write_panels()

    def summary(self) -> dict[str, Any]:
        """Returns the task's part of `summary.json`; see `partoken.training.domain.Task.summary`.

        Beside the keys of the contract: `per_band`, `{answer: {band: {metric: value}}}`.
        """
        results = self.test_results
        scores = dict(results["scores"])
        own = scores.pop(OWN)
        return {
            "test": {**own, "loss": results["loss"]},
            "baselines": scores,
            "facts": {**self.facts(), **band_facts(results["per_band"][OWN])},
            "per_band": results["per_band"],
            "panels": self._panels,
        }

    def _write_panels(self) -> dict[str, Any]:
        """Writes the arrays of the pictures into the run folder, from the tiles of the main process."""
        shown, self._shown = self._shown, ShownTiles()
        if not self.trainer.is_global_zero:
            return {}
        return shown.write(Path(self.trainer.default_root_dir))

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """Returns lines about the networks for a person."""

    def _evaluate(self, batch: TileBatch, answers: Mapping[str, Tensor]) -> None:
        mask = batch.s1_mask & batch.s2_mask
        self._board.add(answers, batch.s2, mask)
        loss = self.weigh(self.terms(answers, batch)).detach()
        self._losses += [loss] * len(batch)

    def _collect(self) -> dict[str, Any]:
        """Returns the scores and the mean loss of an evaluation on all devices, and forgets them."""
        board, self._board = self._board, Scoreboard()
        board.gather(self.trainer.world_size)
        sums = torch.stack([torch.stack(self._losses).sum(), self._losses[0].new_tensor(len(self._losses))])
        self._losses = []
        if self.trainer.world_size > 1:
            sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        return {"scores": board.scores(), "per_band": board.per_band(), "loss": float(sums[0] / sums[1])}

    def _over_devices(self, terms: Mapping[str, Tensor], batch: TileBatch) -> dict[str, Tensor]:
        """Scales means over the tiles of this device so that their mean over the devices is that over all tiles."""
        assert batch.share is not None or num_processes() == 1, "the sampler gives each device's batch its place"
        part = part_of_mean(len(batch), batch.share)
        return {name: term * part for name, term in terms.items()}

    def _log_training(self, values: Mapping[str, Tensor], batch: TileBatch) -> None:
        self.log_training(values, batch.share.total if batch.share else len(batch))

    def _full_precision(self) -> torch.autocast:
        """Ratios and differences of small numbers need float32, whatever the precision of the run."""
        return torch.autocast(self.device.type, enabled=False)


class Stage1Task(TileTask):
    """Trains a `Translator` from radar to optical bands.

    See also:
        `TranslatorSettings` for the network, `Stage1Losses` for the loss, and `partoken.training.domain.Task` for the
        contract with the engine.

    Arguments:
        train: the train config as a plain dictionary.
        data: `DataModule.settings()`: `bands`, `s1_mean`, `s1_std`, `s2_mean`, `s2_std`, `baselines`, and `source`.
            Checkpoints contain it, so they suffice for prediction.
        model: the flat keys of `conf/model/axion_stage1.yaml`; a missing key takes its default.

    Raises:
        UserError: a key of `model` is unknown, its value is not allowed, or the backbone cannot be created.
    """

    metrics = metric_names([*SCORES, "loss"], ["loss", "l1", "l2", "ssim", "edges", "angle"])

    def __init__(self, *, train: Mapping[str, Any], data: Mapping[str, Any], **model: Any) -> None:
        super().__init__(train, data)
        self.save_hyperparameters()
        settings, weights = split_stage1(model)
        self.network = Translator(settings, data)
        self.loss_weights = weights.by_name()

    def freeze_parts(self, parts: Sequence[str]) -> None:
        """Freezes the named modules and, beside adapters, the network that they adapt; unfreezes all others."""
        super().freeze_parts(parts)
        self.network.freeze_base()

    def forward(self, batch: TileBatch) -> Tensor:
        """Returns reflectance `[B, 4, H, W]`."""
        reflectance: Tensor = self.network(batch.s1, batch.s1_mask)
        return reflectance

    def answers(self, batch: TileBatch) -> dict[str, Tensor]:
        """Returns the reflectance of stage 1."""
        return {OWN: self(batch)}

    def terms(self, answers: Mapping[str, Tensor], batch: TileBatch) -> dict[str, Tensor]:
        """Returns `l1`, `l2`, `ssim`, `edges` and `angle`; see `partoken.satellite.losses`."""
        mask, predicted = batch.s1_mask & batch.s2_mask, answers[OWN]
        with self._full_precision():
            return {
                "l1": losses.absolute_error(predicted, batch.s2, mask),
                "l2": losses.squared_error(predicted, batch.s2, mask),
                "ssim": losses.structural_dissimilarity(predicted, batch.s2, mask),
                "edges": losses.radar_edge_disagreement(predicted, batch.s1, mask),
                "angle": losses.spectral_angle_error(predicted, batch.s2, mask),
            }

    def training_step(self, batch: TileBatch, batch_idx: int) -> Tensor:
        terms = self._over_devices(self.terms(self.answers(batch), batch), batch)
        loss = self.weigh(terms)
        self._log_training({"loss": loss, **terms}, batch)
        return loss

    def facts(self) -> dict[str, str]:
        """Counts the parameters."""
        return {"parameters": _count(self.network)}


class Stage2Task(TileTask):
    """Trains a `Refiner` of stage 1's output, and a discriminator against it, each with an optimizer of its own.

    See also:
        `RefinerSettings` for the networks, `Stage2Losses` for the loss, and `partoken.training.domain.Task` for the
        contract with the engine.

    Arguments:
        train: the train config as a plain dictionary.
        data: as for `Stage1Task`.
        stage1: hyper-parameters of stage 1, as a checkpoint of stage 2 has them; its weights are then in that
            checkpoint. None: stage 1 is read from `model.stage1_checkpoint`.
        model: the flat keys of `conf/model/axion_stage2.yaml`; a missing key takes its default.

    Raises:
        UserError: a key of `model` is unknown, its value is not allowed, or there is no stage 1.
    """

    metrics = metric_names(
        [*SCORES, "loss"],
        ["loss", "l1", "l2", "ssim", "ndvi", "evi", "angle", "identity", "edges", "adversarial", "discriminator"],
    )

    def __init__(
        self,
        *,
        train: Mapping[str, Any],
        data: Mapping[str, Any],
        stage1: Mapping[str, Any] | None = None,
        **model: Any,
    ) -> None:
        super().__init__(train, data)
        self.save_hyperparameters()
        self.automatic_optimization = False
        settings, weights = split_stage2(model)
        translator, first = _stage1(settings.stage1_checkpoint or data.get("stage1_dir"), stage1)
        self.hparams["stage1"] = first
        self.network = TwoStages(translator, Refiner(settings, data))
        self.discriminator = PatchDiscriminator(settings.discriminator_channels)
        self.loss_weights = weights.by_name()

    @classmethod
    def outline(cls, *, train: Mapping[str, Any], **model: Any) -> Self | None:
        """Creates the task without data, with the default network as its stage 1."""
        return super().outline(train=train, stage1={"model": {}, "data": _NO_DATA}, **model)

    def optimizer_modules(self) -> Mapping[str, Sequence[nn.Module]]:
        """Returns the modules of the two optimizers."""
        return {"refiner": [self.network.refiner], "discriminator": [self.discriminator]}

    def freeze_parts(self, parts: Sequence[str]) -> None:
        """Freezes stage 1 and the named modules, and unfreezes all others."""
        super().freeze_parts(parts)
        self.network.translator.requires_grad_(False)

    def answers(self, batch: TileBatch) -> dict[str, Tensor]:
        """Returns the reflectance of stage 2 and that of stage 1."""
        first, refined = self.network(batch.s1, batch.s1_mask, batch.month, batch.biome, batch.stage1)
        return {OWN: refined, "stage 1": first}

    def terms(self, answers: Mapping[str, Tensor], batch: TileBatch) -> dict[str, Tensor]:
        """Returns all terms of the refiner's loss; see `partoken.satellite.losses`."""
        mask = batch.s1_mask & batch.s2_mask
        refined, first, truth = answers[OWN], answers["stage 1"], batch.s2
        with self._full_precision():
            return {
                "l1": losses.absolute_error(refined, truth, mask),
                "l2": losses.squared_error(refined, truth, mask),
                "ssim": losses.structural_dissimilarity(refined, truth, mask),
                "ndvi": losses.vegetation_index_error(refined, truth, mask),
                "evi": losses.enhanced_vegetation_index_error(refined, truth, mask),
                "angle": losses.spectral_angle_error(refined, truth, mask),
                "identity": losses.absolute_error(refined, first, mask),
                "edges": losses.edge_guard(refined, first, truth, mask),
                "adversarial": losses.generator_loss(self._judge(refined, batch, teach=False)),
            }

    def training_step(self, batch: TileBatch, batch_idx: int) -> None:
        answers = self.answers(batch)
        terms = self._over_devices(self.terms(answers, batch), batch)
        loss = self.weigh(terms)
        self.optimize(loss, "refiner")
        real, made = self._judge(batch.s2, batch), self._judge(answers[OWN].detach(), batch)
        hinge = losses.discriminator_loss(full_precision(real), full_precision(made))
        judged = self._over_devices({"discriminator": hinge}, batch)
        self.optimize(judged["discriminator"], "discriminator")
        self._log_training({"loss": loss, **terms, **judged}, batch)

    def facts(self) -> dict[str, str]:
        """Counts the parameters of each network."""
        parts = {
            "stage 1": self.network.translator,
            "refiner": self.network.refiner,
            "discriminator": self.discriminator,
        }
        return {"parameters": ", ".join(f"{name} {_count(part)}" for name, part in parts.items())}

    def _judge(self, optical: Tensor, batch: TileBatch, *, teach: bool = True) -> Tensor:
        """Returns the discriminator's scores; with `teach=False` only the image gets their gradient."""
        refiner = self.network.refiner
        standardised = (optical - refiner.s2_mean) / refiner.s2_std
        radar = (batch.s1 - refiner.s1_mean) / refiner.s1_std
        inputs = (standardised, radar, batch.s1_mask & batch.s2_mask)
        if teach:
            scores: Tensor = self.discriminator(*inputs)
            return scores
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        judged: Tensor = functional_call(self.discriminator, fixed, inputs)
        return judged


def _stage1(checkpoint: str | None, stage1: Mapping[str, Any] | None) -> tuple[Translator, dict[str, Any]]:
    """Returns the network of stage 1 and its hyper-parameters, from a checkpoint of stage 1 or of stage 2."""
    if stage1 is not None:
        settings, _ = split_stage1(stage1["model"])
        return Translator(settings, stage1["data"], read_weights=False), dict(stage1)
    if checkpoint is None:
        raise UserError(
            "data.stage1_dir=null: stage 2 refines the output of stage 1; name the run folder of stage 1, or give its "
            "best.ckpt as model.stage1_checkpoint"
        )
    return load_translator(checkpoint)


def _count(network: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"
