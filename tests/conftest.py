"""Fixtures of all tests."""

from partoken.system.targets import trust

trust(["tests"])  # configurations of tests name classes of this package
