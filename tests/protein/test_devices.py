"""Two devices compute what one device computes with the whole batch, in float64."""

import pytest
from omegaconf import OmegaConf

from partoken.config import compose
from tests.devices import assert_same_run, train_on_devices

SMALL = [
    "data.limit=24",  # 17 training chains: batches of 9 and 8, in parts of 5 and 4, and of 4 and 4
    "model=published",
    "model.node_h_dim=[8,2]",
    "model.num_layers=1",
    "model.num_neighbors=6",
    "model.max_clusters=4",
    "model.codebook_size=16",
    "data.epochs_per_pass=1",
    "train.epochs=2",
    "train.warmup_epochs=0",
    "train.schedule_interval=step",
    "trainer.precision=64-true",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]
PLAIN = ["model.partition=none"]
WHOLE, HALVES = ["train.batch_size=10"], ["train.batch_size=5", "trainer.devices=2"]


def train(folder, options, *more):
    words = [*options, *more]
    small = [word for word in SMALL if word != "model=published" or "model=partoken" not in words]
    settings = OmegaConf.to_container(compose([*small, *words]), resolve=True)
    train_on_devices(settings, folder, settings["trainer"]["devices"])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of a run on one device, without a partition."""
    folder = tmp_path_factory.mktemp("one") / "run"
    train(folder, WHOLE, *PLAIN)
    return folder


def test_two_devices_have_the_losses_and_weights_of_one_with_twice_the_batch(one, tmp_path):
    train(tmp_path / "two", HALVES, *PLAIN)
    assert_same_run(one, tmp_path / "two")


def test_a_run_of_two_devices_is_resumed_on_one(one, tmp_path):
    train(tmp_path / "begun", HALVES, *PLAIN, "train.epochs=1")
    begun = tmp_path / "begun/checkpoints/last.ckpt"
    train(tmp_path / "resumed", WHOLE, *PLAIN, f"train.resume_from={begun}")
    # Lightning loads the weights in float32 and converts them then.
    assert_same_run(one, tmp_path / "resumed", tolerance=1e-6)


def test_partition_codes_and_noise_do_not_depend_on_the_number_of_devices(tmp_path):
    options = ["model.coordinate_noise=0.1", "trainer.accumulate_grad_batches=2", "train.use_cosine_schedule=true"]
    train(tmp_path / "one", WHOLE, *options)
    train(tmp_path / "two", HALVES, *options)
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_stages_with_k_means_and_frozen_parts_are_those_of_one_device(tmp_path):
    options = ["experiment=multistage", "model.partition=random"]
    options += [f"train.stages.{name}.epochs={epochs}" for name, epochs in (("baseline", 1), ("joint", 2))]
    train(tmp_path / "one", WHOLE, *options)
    train(tmp_path / "two", HALVES, *options)
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_several_labels_with_gaps_have_the_loss_of_one_device(tmp_path):
    labels = "data.label_columns=[ec_top,{column: cath, depth: 1, multi_label: true, weight: 2}]"
    options = [*PLAIN, labels, "data.min_class_size=100", "data.limit=40"]
    train(tmp_path / "one", WHOLE, *options)
    train(tmp_path / "two", HALVES, *options)
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_every_part_of_the_network_in_local_frames_is_that_of_one_device(tmp_path):
    model = ["model=partoken", "model.init=random", "model.node_h_dim=[8,1]", "model.fold_geometry=true"]
    parts = ["model.combine=sum", "model.lambda_parts=0.5", "model.residue_attention=true"]
    options = [*model, *parts, "model.pooling=environments", f"data.cache_dir={tmp_path}/cache"]
    train(tmp_path / "one", WHOLE, *options)
    train(tmp_path / "two", HALVES, *options)
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_a_pretraining_and_a_frozen_encoder_are_those_of_one_device(tmp_path):
    options = ["experiment=pretrain", "train.stages.pretrain.epochs=1", "model.coordinate_noise=0.1"]
    options += ["data.max_residues_per_batch=null", "model.seq_in=true"]
    options += ["+train.stages.labels={epochs:1,model:{frozen_encoder:true,coordinate_noise:0.0,partition:none}}"]
    options += [f"data.cache_dir={tmp_path}/cache"]
    train(tmp_path / "one", WHOLE, *options)
    train(tmp_path / "two", HALVES, *options)
    assert_same_run(tmp_path / "one", tmp_path / "two")
