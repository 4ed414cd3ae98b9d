"""Adds conf/ to the package as `partoken/conf`; everything else about the build is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["partoken", "partoken.*"]), "partoken.conf"],
    package_dir={"partoken.conf": "conf"},
)
