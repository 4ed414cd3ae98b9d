import numpy as np
import pytest
import torch

from partoken.protein.catalog import embedded
from partoken.protein.chains.backbone import Backbone


@pytest.fixture(scope="session")
def chains() -> list[Backbone]:
    """Real chains without missing atoms, the shortest of those that ship with the package first."""
    store = embedded().collection.store
    shortest = store.read(store.lengths.argsort(kind="stable")[:120])
    return [chain for chain in shortest if np.isfinite(chain.coords).all()]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """These tensors are small: on a busy machine, threads would spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rotation():
    """A random rotation, `[3, 3]`."""
    generator = torch.Generator().manual_seed(3)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return q * torch.linalg.det(q)


@pytest.fixture
def batch_of():
    """Makes a flat batch of helix-like random chains of given lengths: coordinates `[N, 4, 3]` and pointer."""

    def make(*lengths: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for length in lengths:
            walk = torch.randn(length, 3, generator=generator).cumsum(0) * 2.2
            parts.append(walk[:, None] + torch.randn(length, 4, 3, generator=generator))
        return torch.cat(parts), torch.tensor([0, *lengths]).cumsum(0)

    return make
