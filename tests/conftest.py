"""Fixtures of all tests."""

import copy

import pytest

from partoken import config


@pytest.fixture(autouse=True, scope="session")
def defaults_are_composed_once():
    """Keeps the defaults of each choice of groups, which every check of a configuration composes again."""
    original, kept = config._compose, {}

    def compose(overrides, config_dir=None, **options):
        words = tuple(overrides)
        if options.get("with_hydra"):
            return original(overrides, config_dir, **options)
        if config_dir is not None or list(words) != config._group_choices(words):
            return original(overrides, config_dir)
        if words not in kept:
            kept[words] = original(overrides)
        return copy.deepcopy(kept[words])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "_compose", compose)
        yield
