"""Training in little memory: accumulated single tiles and recomputed activations give the update of the large batch."""

import pytest
import torch

from partoken.satellite.task import Stage1Task, Stage2Task
from partoken.system.checkpoint import read_checkpoint
from partoken.training.engine import carry_out, check_outcome
from partoken.training.resume import ResumableDataModule, ResumableLoader
from tests.satellite.made import data_settings, make_batch
from tests.satellite.test_task import FIRST, SECOND, TRAIN
from tests.training.runs import settings
from tests.training.toy import Shuffled

HERE = "tests.satellite.test_memory"
NUM_TILES = 8
EXACT1 = {**FIRST, "_target_": f"{HERE}.exact_stage1"}
EXACT2 = {**SECOND, "_target_": f"{HERE}.exact_stage2"}


def rows_of(batch, rows):
    """Returns some tiles of a batch."""
    tensors = (batch.s1, batch.s1_mask, batch.s2, batch.s2_mask, batch.month, batch.biome)
    names = [tuple(own[row] for row in rows) for own in (batch.ids, batch.scenes)]
    return type(batch)(*(tensor[rows] for tensor in tensors), *names)


class Rows(list):
    """The tiles of a batch, taken by lists of rows."""

    def __init__(self, batch):
        super().__init__(range(len(batch)))
        self.batch = batch

    def __getitem__(self, rows):
        return rows_of(self.batch, rows)


class ExactData(ResumableDataModule):
    """Eight tiles in float64, with missing pixels, in batches of any size."""

    def __init__(self, *, batch_size, num_workers, seed):
        super().__init__()
        self.batch_size = batch_size
        self.batch = make_batch(NUM_TILES, dtype=torch.float64)

    def num_train_batches(self, world_size):
        return NUM_TILES // self.batch_size

    def describe(self):
        return []

    def settings(self):
        return data_settings()

    def write_report(self, folder):
        pass

    def loader(self):
        tiles = Rows(self.batch)
        return ResumableLoader(tiles, Shuffled(tiles, self.batch_size), collate_fn=lambda batch: batch)

    def train_dataloader(self):
        return self.resumable(self.loader())

    def val_dataloader(self):
        return self.loader()

    def test_dataloader(self):
        return self.loader()


def exact_stage1(**settings):
    """A stage 1 in float64; Lightning's own float64 cannot convert frozen batches."""
    return Stage1Task(**settings).double()


def exact_stage2(**settings):
    """A stage 2 in float64."""
    return Stage2Task(**settings).double()


def updated(folder, model, batch_size, accumulate):
    """Returns the parameters after three optimizer steps of eight tiles each, in float64."""
    folder.mkdir()
    train = {**TRAIN, "batch_size": batch_size, "epochs": 3, "warmup_steps": 1, "weight_decay": 0.1, "lr": 0.01}
    trainer = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.01}
    groups = settings(data={"_target_": f"{HERE}.ExactData"}, trainer=trainer, **train)
    torch.set_default_dtype(torch.float64)
    try:
        check_outcome(carry_out({**groups, "model": model}, folder))
    finally:
        torch.set_default_dtype(torch.float32)
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """The run folder of a stage 1 in float64."""
    folder = tmp_path_factory.mktemp("runs") / "stage1"
    updated(folder, EXACT1, batch_size=NUM_TILES, accumulate=1)
    return folder


@pytest.mark.parametrize("number", [1, 2], ids=["stage 1", "stage 2"])
def test_accumulated_single_tiles_give_the_update_of_the_large_batch(tmp_path, stage1, number):
    model = EXACT1 if number == 1 else {**EXACT2, "stage1_checkpoint": str(stage1)}
    single = updated(tmp_path / "single", model, batch_size=1, accumulate=NUM_TILES)
    large = updated(tmp_path / "large", model, batch_size=NUM_TILES, accumulate=1)
    once = updated(tmp_path / "other", model, batch_size=1, accumulate=1)
    assert single.keys() == large.keys()
    for name, expected in large.items():
        assert expected.dtype == torch.float64
        torch.testing.assert_close(single[name], expected, rtol=1e-8, atol=1e-10, msg=name)
    assert any(not torch.allclose(once[name], expected, rtol=1e-3) for name, expected in large.items())


@pytest.mark.parametrize("number", [1, 2], ids=["stage 1", "stage 2"])
def test_recomputed_activations_give_the_update_of_stored_ones(tmp_path, stage1, number):
    model = EXACT1 if number == 1 else {**EXACT2, "stage1_checkpoint": str(stage1)}
    stored, recomputed = (
        updated(tmp_path / str(switch), {**model, "drop_rate": 0.3, "checkpoint_activations": switch}, 4, 2)
        for switch in (False, True)
    )
    for name, expected in stored.items():
        torch.testing.assert_close(recomputed[name], expected, rtol=1e-8, atol=1e-10, msg=name)
