"""Fixtures of all tests."""

import yaml

from partoken.system.targets import trust

yaml.SafeLoader = yaml.CSafeLoader  # the tests compose hundreds of configurations; this reads the same YAML faster

trust(["tests"])  # configurations of tests name classes of this package
