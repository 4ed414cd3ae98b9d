"""The status of a run folder, seen by other processes."""

import json
import subprocess
import sys

import pytest

from partoken.errors import UserError
from partoken.system.run_status import ENDED, read_status, record_status, request_stop

HOLD = """
import sys, time
from pathlib import Path
from partoken.system.run_status import record_status
with record_status(Path(sys.argv[1]), ["train.lr=1"]):
    print("running", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def running(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_without_a_run_is_waiting(tmp_path):
    assert read_status(tmp_path).status == "waiting"
    assert read_status(tmp_path / "missing").status == "waiting"


def test_a_run_of_another_process_is_running_until_it_is_killed(running, tmp_path):
    assert read_status(tmp_path).status == "running"
    assert read_status(tmp_path).pid == running.pid
    running.kill()
    running.wait()
    status = read_status(tmp_path)
    assert status.status == "interrupted"
    assert f"process {running.pid}" in status.reason
    assert list(status.overrides) == ["train.lr=1"]


def test_a_second_process_is_refused(running, tmp_path):
    with pytest.raises(UserError, match="another process is training in this run folder"):
        with record_status(tmp_path):
            pass
    assert read_status(tmp_path).pid == running.pid, "the refused process wrote nothing"


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "finished"), (UserError("a bad key"), "failed"), (KeyboardInterrupt(), "interrupted")],
    ids=["none", "error", "interrupt"],
)
def test_the_end_of_the_block_decides_the_status(error, status, tmp_path):
    try:
        with record_status(tmp_path):
            if error:
                raise error
    except (UserError, KeyboardInterrupt) as caught:
        assert caught is error
    found = read_status(tmp_path)
    assert found.status == status
    assert (found.status in ENDED) == (status != "interrupted")
    assert (found.reason is None) == (error is None)


def test_a_damaged_file_counts_as_interrupted(tmp_path):
    (tmp_path / "status.json").write_text("{")
    assert read_status(tmp_path).status == "interrupted"


def test_a_request_to_stop_is_one_whole_file(tmp_path):
    request_stop(tmp_path, "pruned", "too slow")
    assert json.loads((tmp_path / "stop").read_text()) == {"status": "pruned", "reason": "too slow"}
    assert [file.name for file in tmp_path.iterdir()] == ["stop"]
