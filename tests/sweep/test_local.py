"""Jobs on this machine share its cores."""

import pytest

from partoken.sweep import local
from tests.sweep.fake import command


@pytest.mark.parametrize(("n_jobs", "threads", "warns"), [(4, 1000, True), (1, 1000, False)])
def test_several_jobs_with_more_threads_than_cores_give_a_warning(n_jobs, threads, warns, monkeypatch, capsys):
    monkeypatch.setattr(local, "use_threads", lambda threads: None)
    monkeypatch.setattr(local, "job_server", lambda: None)
    local.LocalLauncher(command, n_jobs, threads)
    assert (f"n_jobs={n_jobs} with sweep.threads={threads} share" in capsys.readouterr().err) == warns
