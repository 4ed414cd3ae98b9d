"""Flat batches of chains."""

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.utilities import move_data_to_device

from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.batch import collate


def chain(name: str, length: int, seed: int = 0) -> Backbone:
    random = np.random.default_rng(seed)
    return Backbone(
        name, random.normal(size=(length, 4, 3)).astype(np.float32), random.integers(0, 21, length).astype(np.uint8)
    )


def test_collate_joins_chains_in_order():
    chains = [chain("a", 3, 1), chain("b", 1, 2), chain("c", 5, 3)]
    batch = collate(chains, {"": torch.tensor([0, 2, 1])}, [7, 8, 9])
    assert batch.ids == ("a", "b", "c") and batch.index.tolist() == [7, 8, 9] and batch.labels[""].tolist() == [0, 2, 1]
    for i, expected in enumerate(chains):
        part = slice(batch.ptr[i], batch.ptr[i + 1])
        assert torch.equal(batch.coords[part], torch.from_numpy(expected.coords))
        assert batch.sequence[part].tolist() == expected.sequence.tolist()
    assert (batch.coords.dtype, batch.sequence.dtype, batch.ptr.dtype) == (torch.float32, torch.int64, torch.int64)


def test_lightning_moves_every_tensor_of_a_batch():
    labels = {"one": torch.tensor([1]), "two": torch.tensor([[0.0, torch.nan]])}
    batch = collate([chain("a", 3)], labels, features=[np.ones((3, 2), np.float32)])
    batch = move_data_to_device(batch, torch.device("meta"))
    tensors = [value for value in (*vars(batch).values(), *batch.labels.values()) if isinstance(value, torch.Tensor)]
    assert list(batch.labels) == ["one", "two"] and batch.ids == ("a",)
    assert len(tensors) == 7 and all(t.device.type == "meta" for t in tensors)


def test_lightning_converts_a_batch_to_another_precision():
    """As trainer.precision=64-true does."""
    batch = collate([chain("a", 3)], {"one": torch.tensor([1]), "two": torch.tensor([[0.0, 1.0]])})
    converted = apply_to_collection(batch, torch.Tensor, lambda t: t.double() if t.is_floating_point() else t)
    assert converted.coords.dtype == torch.float64 and batch.coords.dtype == torch.float32
    assert converted.ptr.dtype == converted.labels["one"].dtype == torch.int64
    assert converted.labels["two"].dtype == torch.float64
