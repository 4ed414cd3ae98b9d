"""A release: the check of the wheel finds a file too many, a file too few and a changed file."""

import importlib.util
import zipfile

import pytest

from tests.commands import IN_CLONE, ROOT

pytestmark = pytest.mark.skipif(not IN_CLONE, reason="a release is made in a clone")


@pytest.fixture(scope="module")
def check():
    """The script that `make dist` runs on what it built."""
    spec = importlib.util.spec_from_file_location("check_dist", ROOT / ".ci" / "check_dist.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_wheel(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def contents(check):
    return {name: path.read_bytes() for name, path in check.expected().items()}


def test_a_wheel_with_the_package_and_conf_passes_and_its_size_is_printed(check, contents, tmp_path, capsys):
    assert {"partoken/cli.py", "partoken/conf/config_partoken.yaml", "partoken/py.typed"} <= contents.keys()
    wheel = write_wheel(tmp_path / "a.whl", contents | {"partoken-1.dist-info/METADATA": "Name: partoken"})
    assert check.check_wheel(wheel) == []
    assert f"a.whl: {len(contents) + 1} files" in capsys.readouterr().out


def test_a_file_that_no_user_needs_is_named(check, contents, tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", contents | {"tests/test_cli.py": ""})
    assert check.check_wheel(wheel) == ["a.whl has tests/test_cli.py, which no user needs"]


def test_a_missing_file_of_conf_is_named(check, contents, tmp_path):
    del contents["partoken/conf/data/embedded.yaml"]
    assert check.check_wheel(write_wheel(tmp_path / "a.whl", contents)) == [
        "a.whl lacks partoken/conf/data/embedded.yaml"
    ]


def test_a_file_of_an_older_build_is_named(check, contents, tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", contents | {"partoken/version.py": "__version__ = '0'"})
    assert check.check_wheel(wheel) == ["a.whl: partoken/version.py differs from partoken/version.py"]


def test_an_empty_folder_is_not_a_release(check, tmp_path, capsys):
    assert check.main(tmp_path) == 1
    assert "run make dist" in capsys.readouterr().err
