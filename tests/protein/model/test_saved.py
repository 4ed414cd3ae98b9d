"""Loading a trained network from a checkpoint, without Lightning."""

import subprocess
import sys

import pytest
import torch

from partoken.errors import UserError
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.saved import load_network
from partoken.protein.model.settings import NetworkSettings

SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}
READING = {"min_length": 10, "max_length": None}
DATA = {
    "class_names": ["mainly alpha", "mainly beta"],
    "class_counts": {"train": [3, 4]},
    "train_chains": 7,
    "multi_label": True,
    "source": {"reading": READING},
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ParToken(2, NetworkSettings(**SMALL))


def write(path, network, *, data=DATA, **model):
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    hyper_parameters = {"train": {"lr": 1e-3}, "data": data, "lambda_vq": 0.5, **SMALL, **model}
    torch.save({"state_dict": state, "hyper_parameters": hyper_parameters}, path)
    return path


def test_the_loaded_network_gives_the_same_answer(network, tmp_path, batch_of):
    coords, ptr = batch_of(20, 40)
    network(coords, ptr)  # a training batch, so that codes and running averages are not those of a new network
    saved = load_network(write(tmp_path / "x.ckpt", network))
    assert not saved.network.training
    assert torch.equal(saved.network(coords, ptr).logits, network.eval()(coords, ptr).logits)


def test_classes_and_reading_limits_come_from_the_checkpoint(network, tmp_path):
    saved = load_network(write(tmp_path / "x.ckpt", network))
    assert saved.labels[0].class_names == ("mainly alpha", "mainly beta")
    assert saved.labels[0].multi_label is True
    assert saved.reading == READING


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"tiles": 3}}, "contains no ParToken network"),
        ({"data": None}, "contains no ParToken network"),
        ({"codebook_size": 8}, "size mismatch"),
        ({"codebook_size": 0}, r"model\.codebook_size=0"),
        ({"depth": 3}, r"model\.depth is not a setting"),
    ],
    ids=["other data", "no data", "other weights", "bad value", "unknown key"],
)
def test_a_checkpoint_of_another_model_is_rejected_by_name(network, tmp_path, change, words):
    path = write(tmp_path / "x.ckpt", network, **change)
    with pytest.raises(UserError, match=words) as error:
        load_network(path)
    assert "x.ckpt" in str(error.value)


def test_loading_and_predicting_import_no_lightning():
    code = (
        "import sys, partoken.protein.model.saved, partoken.protein.predict; "
        "sys.exit(any(name in sys.modules for name in ('pytorch_lightning', 'lightning', 'torchmetrics')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
