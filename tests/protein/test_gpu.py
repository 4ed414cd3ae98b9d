"""ParToken on a GPU: the answers of the CPU, and a training that is stopped and goes on exactly."""

import pytest
import torch

from partoken.composition import plain
from partoken.config import compose
from partoken.protein.catalog import embedded
from partoken.protein.chains.batch import collate
from partoken.protein.model.saved import load_network
from partoken.system.shipped import shipped_weights
from tests.protein.test_exact_resume import TINY
from tests.training.test_epoch_state import Stop, check_exact_resume

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = ["trainer=gpu", "trainer.deterministic=true"]
NETWORKS = {
    "the default": [],
    "the published one": ["model=published", "model.num_layers=1", "model.node_h_dim=[16,4]"],
    "all parts": ["model.residue_attention=true", "model.fold_geometry=true", "model.classify_from=both"],
    "a learned partition": ["model.partition=learned", "model.max_clusters=6", "model.frozen_encoder=false"],
}


def test_the_weights_that_ship_give_the_answers_of_the_cpu():
    batch = collate(embedded(limit=40).dataset("test").store.read(range(6)))
    answers = []
    for device in ("cpu", "cuda"):
        network = load_network(shipped_weights()["enzymes"]).network.to(device)
        with torch.inference_mode():
            answers.append(network(**batch.to(device).inputs()).logits.cpu())
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_training_that_was_stopped_goes_on_exactly(network, tmp_path):
    settings = plain(compose([*TINY, *GPU, *network, f"data.cache_dir={tmp_path}/cache"]))
    check_exact_resume(settings, tmp_path, Stop(2), Stop(validation=(1, 0)))
