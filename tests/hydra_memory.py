"""Lets Hydra parse each file and merge each choice of options once: the tests compose thousands of configurations."""

import functools
import pickle
from pathlib import Path

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf


def remember_compositions():
    """Makes the slow functions of a composition return copies of earlier results."""
    OmegaConf.load = staticmethod(_remembering(OmegaConf.load, _text))
    for owner, name, key in (
        (ConfigLoaderImpl, "_compose_config_from_defaults_list", _contents),
        (defaults_list, "_create_interpolation_map", _choices),
    ):
        setattr(owner, name, _remembering(getattr(owner, name), key))


def _remembering(function, key_of):
    """Returns a function that is computed once for each key.

    Arguments:
        function: with a result that can be pickled.
        key_of: returns, from the same arguments, everything that the result depends on.
    """
    known = {}

    @functools.wraps(function)
    def remembering(*arguments, **named):
        key = key_of(*arguments, **named)
        if key not in known:
            known[key] = pickle.dumps(function(*arguments, **named))
        return pickle.loads(known[key])

    return remembering


def _text(file_):
    """Returns what is in a YAML file, open or closed."""
    if isinstance(file_, str | Path):
        return Path(file_).read_text(encoding="utf-8")
    text = file_.read()
    file_.seek(0)
    return text


def _contents(self, defaults, repo):
    """Returns the options in the order in which Hydra merges them, and the contents of their files."""
    loaded = [repo.load_config(default.config_path) for default in defaults]
    return pickle.dumps([(defaults, [(found.config, found.header, found.is_schema_source) for found in loaded])])


def _choices(overrides, defaults_list, self_added):
    """Returns what an interpolation in a defaults list may refer to."""
    return repr((overrides.known_choices, defaults_list, self_added))
