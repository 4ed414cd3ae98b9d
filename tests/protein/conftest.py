import numpy as np
import pytest

from partoken.protein.backbone import Backbone
from partoken.protein.datamodule import embedded


@pytest.fixture(scope="session")
def chains() -> list[Backbone]:
    """Real chains without missing atoms, the shortest of those that ship with the package first."""
    store = embedded().collection.store
    shortest = store.read(store.lengths.argsort(kind="stable")[:120])
    return [chain for chain in shortest if np.isfinite(chain.coords).all()]
