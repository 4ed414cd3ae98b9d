"""A training of ParToken that is stopped within an epoch goes on with the numbers of an uninterrupted one."""

from partoken.composition import plain
from partoken.config import compose
from tests.training.test_epoch_state import Stop, check_exact_resume

TINY = ["data.limit=36", "train.batch_size=4", "trainer.accumulate_grad_batches=2", "train.epochs=2"]
TINY += ["train.use_cosine_schedule=true", "train.schedule_interval=step", "train.warmup_epochs=1"]


def test_codes_temperature_and_averages_go_on_exactly(tmp_path):
    """The averages of the codebook are measured on the latest batches, some of which came before the stop."""
    settings = plain(compose([*TINY, f"data.cache_dir={tmp_path}/cache"]))
    check_exact_resume(settings, tmp_path, Stop(2), Stop(validation=(1, 0)))
