"""Fixtures of all tests."""

import gc

from partoken.system.targets import trust
from tests.hydra_memory import remember_compositions

remember_compositions()

trust(["tests"])  # configurations of tests name classes of this package


def pytest_collection_finish():
    """Lets the garbage collector skip the imported modules, whose million objects live until the end."""
    gc.freeze()
