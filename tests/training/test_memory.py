"""A run that finds no memory says how large its batch was, and which key makes batches smaller."""

import pytest
import torch

from partoken.errors import UserError
from partoken.training.engine import carry_out
from partoken.training.memory import LastBatch, explain_out_of_memory
from tests.training.runs import settings
from tests.training.toy import ToyModule

CPU = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"


class Greedy(ToyModule):
    """Needs more memory than a machine can have."""

    unit = "residues"
    split = "train"

    def batch_units(self, batch):
        return 1234

    def training_step(self, batch, batch_idx):
        if self.split == "train":
            torch.empty(1 << 60)
        return super().training_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        torch.empty(1 << 60)


class GreedyInTheTest(Greedy):
    split = "test"


@pytest.mark.parametrize("kind", [Greedy, GreedyInTheTest])
def test_the_message_names_the_batch_and_the_key_to_lower(kind, tmp_path):
    model = {"_target_": f"tests.training.test_memory.{kind.__name__}"}
    with pytest.raises(UserError, match=r"out of memory at a batch of 1,234 residues: lower train\.batch_size=2 \("):
        carry_out(settings(model=model), tmp_path)


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        ({}, "lower train.batch_size=8 ("),
        ({"max_residues_per_batch": None}, "lower train.batch_size=8 or set data.max_residues_per_batch ("),
        ({"max_residues_per_batch": 4000}, "lower data.max_residues_per_batch=4000 ("),
    ],
)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU), MemoryError()])
def test_the_advice_is_the_key_that_decides_the_size(error, data, advice):
    last = LastBatch()
    with pytest.raises(UserError) as raised, explain_out_of_memory(last, data, 8):
        raise error
    assert advice in str(raised.value)
    assert "before the first batch" in str(raised.value)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory(LastBatch(), {}, 8):
        raise RuntimeError("shapes do not fit")
