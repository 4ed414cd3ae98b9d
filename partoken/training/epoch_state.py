"""What Lightning's checkpoints leave out, so that a run continues exactly from within an epoch."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn

from partoken.training.module import scheduled_module, steps_window

__all__ = ["EpochState", "validates_next"]

KEY = "partoken_epoch"
"""Where a checkpoint has the state of its epoch."""

OPTIONS = ("prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx", "metric_attribute")
"""How a metric was logged."""


class EpochState(pl.Callback):
    """Saves and restores the state of an epoch that Lightning's checkpoints leave out.

    - The sums behind the means of the epoch, so that `train_loss` is the mean over the whole epoch.
    - The values of the metrics so far, which `ReduceLROnPlateau` and the row of the epoch read.
    - The gradients, if an optimizer step is made of several batches and the checkpoint was written between them.
    - Whether a validation follows. Lightning would leave it out after a checkpoint that was written before it.
    - Whether `ReduceLROnPlateau` still has to move, which Lightning does after it has written the checkpoint.
    """

    def __init__(self) -> None:
        self._restored: Mapping[str, Any] | None = None
        self._is_validating = False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._is_validating = not trainer.sanity_checking

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._is_validating = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        epoch: Any = trainer.fit_loop.epoch_progress.current
        is_within = epoch.processed < epoch.started
        metrics = trainer._logger_connector._callback_metrics  # `callback_metrics` would compute the means too early
        checkpoint[KEY] = {
            "metrics": {name: float(value) for name, value in metrics.items()},
            "sums": _sums(trainer) if is_within else [],
            "gradients": _gradients(trainer, pl_module) if is_within else {},
            "validates": is_within and (self._is_validating or validates_next(trainer)),
            "ends_epoch": not is_within,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._restored = checkpoint.get(KEY)  # a checkpoint of an older version has none
        if self._restored is not None and self._restored["validates"]:
            _return_to_validation(checkpoint["loops"]["fit_loop"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        state, self._restored = self._restored, None
        if state is None:
            return
        connector = trainer._logger_connector
        values = {name: torch.tensor(value, device=pl_module.device) for name, value in state["metrics"].items()}
        connector._callback_metrics.update(values)
        for saved in state["sums"]:
            _restore_sum(trainer, saved)
        if state["sums"]:
            connector._first_loop_iter = False  # the first batch of an epoch would set the sums to zero
        parameters = dict(pl_module.named_parameters())
        for name, gradient in state["gradients"].items():
            parameters[name].grad = gradient.to(parameters[name].device)
        if state["ends_epoch"]:
            trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.fit_loop._restarting = False  # or ReduceLROnPlateau would not move in the resumed epoch


def validates_next(trainer: pl.Trainer) -> bool:
    """Returns whether a validation follows the training batch that has just been processed."""
    loop = trainer.fit_loop.epoch_loop
    batches: Any = loop.batch_progress.current
    if batches.completed >= batches.processed:
        return False  # the checkpoint is written after it
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and loop._should_check_val_fx(fetcher)


def _sums(trainer: pl.Trainer) -> list[dict[str, Any]]:
    """Returns the metrics that have been logged in this epoch, with their sums."""
    found = []
    for metric in trainer.fit_loop.epoch_loop._results.result_metrics:
        if not metric.is_tensor or metric.has_reset:
            continue
        meta = metric.meta
        latest, count = metric._forward_cache, getattr(metric, "cumulated_batch_size", None)
        found.append(
            {
                "fx": meta.fx,
                "name": meta.name,
                **{option: getattr(meta, option) for option in OPTIONS},
                "reduce_fx": meta.reduce_fx.__name__,
                "sync_dist": meta.sync.should,
                "rank_zero_only": meta.sync.rank_zero_only,
                "value": metric.value.detach().clone(),
                "count": None if count is None else count.clone(),
                "latest": None if latest is None else latest.detach().clone(),
            }
        )
    return found


def _restore_sum(trainer: pl.Trainer, saved: Mapping[str, Any]) -> None:
    """Logs a metric as the training step will, and sets its sum to the saved one."""
    device = trainer.strategy.root_device
    options = {name: value for name, value in saved.items() if name not in ("value", "count", "latest")}
    results = trainer.fit_loop.epoch_loop._results
    value = saved["value"].to(device)
    results.log(**options, value=value, batch_size=1, sync_dist_fn=trainer.strategy.reduce)
    metric = results[f"{saved['fx']}.{saved['name']}"]
    metric.value = value
    if saved["count"] is not None:
        metric.cumulated_batch_size = saved["count"].to(device)
    metric._forward_cache = None if saved["latest"] is None else saved["latest"].to(device)


def _gradients(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, torch.Tensor]:
    """Returns the gradients of the batches since the last optimizer step; {} after a step."""
    loop = trainer.fit_loop.epoch_loop
    is_whole = loop.batch_progress.current.ready % steps_window(scheduled_module(pl_module)) == 0
    if is_whole or loop._num_ready_batches_reached():
        return {}
    parameters = pl_module.named_parameters()
    return {name: parameter.grad.clone() for name, parameter in parameters if parameter.grad is not None}


def _return_to_validation(loops: dict[str, Any]) -> None:
    """Sets the progress of a checkpoint to the state in which Lightning goes back into a validation, at its start."""
    training, validation = (loops[f"epoch_loop.{name}batch_progress"] for name in ("", "val_loop."))
    for part in ("total", "current"):
        training[part]["completed"] = training[part]["processed"]
    validation["total"].update(ready=1, started=1, processed=0, completed=0)
    validation["current"].update(ready=0, started=0, processed=0, completed=0)
    validation["is_last_batch"] = False
