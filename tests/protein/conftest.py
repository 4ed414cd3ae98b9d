"""Fixtures of the protein tests: real chains, random batches, one thread."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from partoken.protein.catalog import embedded
from partoken.protein.chains.backbone import Backbone
from partoken.protein.task import ParTokenTask
from tests.protein.tasks import NAN


@pytest.fixture(scope="session")
def chains() -> list[Backbone]:
    """The shortest embedded chains that have no missing atom, shortest first."""
    store = embedded().collection.store
    shortest = store.read(store.lengths.argsort(kind="stable")[:120])
    return [chain for chain in shortest if np.isfinite(chain.coords).all()]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Uses one thread: the tensors are small, and on a busy machine threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rotation():
    """A random rotation matrix, float64 [3, 3]."""
    generator = torch.Generator().manual_seed(3)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return q * torch.linalg.det(q)


@pytest.fixture
def batch_of():
    """Makes a flat batch of random chains of given lengths: coordinates float32 [N, 4, 3], pointer int64 [B + 1]."""

    def make(*lengths: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for length in lengths:
            walk = torch.randn(length, 3, generator=generator).cumsum(0) * 2.2
            parts.append(walk[:, None] + torch.randn(length, 4, 3, generator=generator))
        return torch.cat(parts), torch.tensor([0, *lengths]).cumsum(0)

    return make


@pytest.fixture(scope="module")
def batch():
    return next(iter(embedded(limit=30, min_class_size=20, batch_size=4).train_dataloader()))


@pytest.fixture
def quiet(monkeypatch):
    """Makes a task run its steps without a trainer's log."""
    monkeypatch.setattr(ParTokenTask, "log_dict", lambda *_, **__: None)


@pytest.fixture
def mixed(batch):
    """Four chains: three have a fold, one a kind, two sites."""
    labels = {
        "fold": torch.tensor([0, -1, 2, 1]),
        "kind": torch.tensor([-1, -1, 1, -1]),
        "site": torch.tensor([[1.0, 0.0], [NAN, NAN], [0.0, 0.0], [NAN, NAN]]),
    }
    return replace(batch, labels=labels)
