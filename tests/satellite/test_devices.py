"""Two devices compute what one device computes with the whole batch, in float64, without dropout."""

from omegaconf import OmegaConf

from partoken.config import compose
from tests.devices import assert_same_run, train_on_devices

OPTIONS = [
    "experiment=axion",  # both stages: a network, then a refiner against a discriminator
    "data.crop=16",
    "model.channels=[4,8]",
    "model.depths=[1,1]",
    "model.drop_rate=0",
    "+train.stages.stage2.model.drop_rate=0",
    "train.stages.stage1.epochs=1",
    "train.stages.stage2.epochs=1",
    "trainer.accumulate_grad_batches=1",
    "trainer.precision=64-true",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]


def test_both_stages_have_the_losses_and_weights_of_one_device_with_twice_the_batch(tmp_path):
    for name, more in (("one", ["train.batch_size=8"]), ("two", ["train.batch_size=4", "trainer.devices=2"])):
        stage1 = f"train.stages.stage2.data.stage1_dir={tmp_path / name}/checkpoints/stage1"
        settings = OmegaConf.to_container(compose([*OPTIONS, *more, stage1]), resolve=True)
        train_on_devices(settings, tmp_path / name, settings["trainer"]["devices"])
    assert_same_run(tmp_path / "one", tmp_path / "two")
