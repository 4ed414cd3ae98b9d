"""A full disk, or a folder that nobody may write, ends a command in one message and leaves no part of a file."""

import shlex
import shutil

import pytest

from partoken.cli import main
from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.report import present
from tests.disks import read_only_copy, room_for
from tests.misuse.table import TINY, run_here
from tests.protein.structures import pdb_text


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A structure file."""
    path = tmp_path_factory.mktemp("structures") / "chain.pdb"
    store = embedded().collection.store
    path.write_text(pdb_text(*store.read(store.lengths.argsort(kind="stable")[:1])))
    return path


@pytest.mark.parametrize(
    "command",
    [
        "predict CKPT CHAIN --out DIR/answers.csv",
        "predict CKPT CHAIN --explain --out DIR/explained",
        "explain CKPT --structures CHAIN --out DIR/checks",
        "report CKPT --structures CHAIN --out DIR/report",
        "inspect CHAIN --out DIR/chains.csv",
        "preview train.use_cosine_schedule=true --png DIR/plan.png",
    ],
    ids=lambda command: " ".join(word for word in command.split() if not word.isupper() and "DIR" not in word),
)
@pytest.mark.filterwarnings("default")
def test_a_full_disk_ends_a_command_in_one_message_without_a_part_of_a_file(command, places, chain, tmp_path, capsys):
    for name, path in {**places, "CHAIN": chain, "DIR": tmp_path}.items():
        command = command.replace(name, str(path))
    with room_for(20):
        status = run_here(main, shlex.split(command))
    said = capsys.readouterr().err
    assert status == 2, said
    assert said.count("error: no space left on the disk of") == 1 and str(tmp_path) in said
    assert "Traceback" not in said
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_pictures_without_space_leave_those_of_before(places, tmp_path):
    folder = shutil.copytree(places["FIRST"], tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (folder / "plots").iterdir()}
    with room_for(1000), pytest.raises(UserError, match=r"no space left on the disk of .*\.png"):
        present(folder)
    assert {file.name: file.read_bytes() for file in (folder / "plots").iterdir()} == before


@pytest.mark.filterwarnings("default")
def test_a_run_in_a_folder_that_nobody_may_write_is_not_resumed(places, tmp_path, capfd):
    with read_only_copy(places["FIRST"], tmp_path / "disk") as folder:
        resumed = ["train.epochs=2", f"train.resume_from={folder}/checkpoints/last.ckpt", f"hydra.run.dir={folder}"]
        status = run_here(main, ["train", *TINY, *resumed])
        said = "".join(capfd.readouterr())
        assert status == 2, said
        assert said.count("error: ") == 1 and str(folder) in said and "Traceback" not in said
        assert "Read-only file system" in said or "Permission denied" in said
