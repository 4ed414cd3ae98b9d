"""Each misuse of the table ends in one message that names the fault, with exit status 2 and without a result."""

import pytest

from partoken.cli import main
from tests.misuse.table import IN_PROCESSES, read_table, run_here, run_process, words_of

TABLE = list(read_table())


@pytest.mark.filterwarnings("default")  # a warning before the message is no second fault
@pytest.mark.parametrize("misuse", TABLE, ids=[misuse.name for misuse in TABLE])
def test_a_misuse_ends_in_one_message(misuse, places, tmp_path, capfd):
    words = words_of(misuse.command, {**places, "DIR": tmp_path})
    if misuse.topic == IN_PROCESSES:
        status, said = run_process(words)
    else:
        status = run_here(main, words)
        said = "".join(capfd.readouterr())
    assert status == 2, said
    assert "Traceback" not in said
    assert misuse.needle.lower() in said.lower()
    assert not (tmp_path / "harm").exists(), "it ran a command of the configuration"
    left = [path for path in tmp_path.rglob("summary.json") if '"diverged"' not in path.read_text()]
    assert not left, "it left a result"


def test_every_misuse_is_in_the_table_once():
    assert len({misuse.name for misuse in TABLE}) == len(TABLE)
