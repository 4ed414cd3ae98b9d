"""Settings of the network and of the loss: defaults, checks, and how the flat keys are sorted."""

from dataclasses import asdict, fields

import pytest
from omegaconf import OmegaConf

from partoken.config import CONF
from partoken.errors import UserError
from partoken.protein.model.settings import LossSettings, NetworkSettings, split_settings

FILE = CONF / "model" / "published.yaml"


def test_the_yaml_file_and_the_dataclasses_have_the_same_keys_and_defaults():
    conf = OmegaConf.to_container(OmegaConf.load(FILE))
    del conf["_target_"]
    defaults = asdict(NetworkSettings()) | asdict(LossSettings())
    assert defaults.pop("feature_width") == 0, "the data decide it"
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert conf == plain


def test_the_yaml_file_gives_the_default_settings():
    conf = OmegaConf.to_container(OmegaConf.load(FILE))
    del conf["_target_"]
    assert split_settings(conf) == (NetworkSettings(), LossSettings())


def published():
    conf = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "published.yaml"))
    del conf["_target_"]
    return conf


def test_the_published_network_has_a_value_for_every_key():
    assert set(published()) | {"_target_"} == set(OmegaConf.load(FILE))


def test_the_published_network_stays_as_it_was_when_defaults_move_on():
    network, loss = split_settings(published())
    assert (network.encoder, network.node_h_dim, network.num_layers, network.num_neighbors) == ("gvp", (100, 16), 3, 30)
    assert (network.partition, network.max_clusters, network.codebook_size) == ("learned", 10, 512)
    assert (network.pooling, network.tokens_from, network.classify_from) == ("sum", "codes", "both")
    assert not any((network.seq_in, network.bypass_codebook, network.residue_attention, network.fold_geometry))
    assert network.combine == "gate"
    assert (network.exchange, loss.init, loss.frozen_encoder, loss.class_balance) == ("touching", "random", None, 0)
    assert (loss.lambda_vq, loss.lambda_ent, loss.lambda_psc, loss.lambda_summary) == (1.0, 1e-3, 1e-2, 0.0)


def test_no_key_belongs_to_both_groups():
    network, loss = ({field.name for field in fields(kind)} for kind in (NetworkSettings, LossSettings))
    assert not network & loss


def test_each_key_reaches_its_group_and_a_missing_key_keeps_its_default():
    network, loss = split_settings({"num_layers": 2, "lambda_vq": 0.1})
    assert network == NetworkSettings(num_layers=2)
    assert loss == LossSettings(lambda_vq=0.1)


def test_an_unknown_key_is_rejected_with_the_nearest_known_key():
    with pytest.raises(UserError, match=r"model\.max_cluster is not .* Did you mean model\.max_clusters\?"):
        split_settings({"max_cluster": 3})


def test_settings_do_not_change_after_their_check():
    with pytest.raises(AttributeError):
        NetworkSettings().max_clusters = 0


def test_lists_from_yaml_become_tuples():
    assert NetworkSettings(node_h_dim=[20, 4]) == NetworkSettings(node_h_dim=(20, 4))


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("pooling", "average", "choose sum, mean, max, attention, moments or environments"),
        ("partition", "both", "choose learned, random, elements, attention, stretches or none"),
        ("tokens_from", "code", "choose codes or features. Did you mean codes?"),
        ("exchange", "near", "choose touching or geometry"),
        ("exchange_layers", 4, "1 or more and at most 3"),
        ("exchange_layers", 2, "has no effect with model.exchange=touching"),
        ("classify_from", "tokens", "choose both or substructures"),
        ("codebook_distance", "l1", "choose l2 or cosine"),
        ("num_layers", 0, "a whole number of 1 or more"),
        ("num_layers", 1.5, "a whole number of 1 or more"),
        ("max_clusters", -1, "a whole number of 1 or more"),
        ("k_hop", True, "a whole number of 1 or more"),
        ("codebook_size", None, "a whole number of 1 or more"),
        ("nhid", "50", "a whole number of 1 or more"),
        ("cluster_size_max", 0, "a whole number of 1 or more"),
        ("num_neighbors", 0, "a whole number of 1 or more"),
        ("codebook_dim", 0, "or null"),
        ("drop_rate", 1.0, "of 0 or more and below 1"),
        ("drop_rate", float("nan"), "of 0 or more and below 1"),
        ("codebook_decay", 1.0, "of 0 or more and below 1"),
        ("codebook_beta", -1, "a number of 0 or more"),
        ("termination_threshold", 0.0, "above 0 and at most 1"),
        ("tau_decay", 1.1, "above 0 and at most 1"),
        ("tau_init", 0, "above 0"),
        ("tau_min", 2.0, "at most model.tau_init=1.0"),
        ("psc_temp", -0.3, "above 0"),
        ("node_in_dim", [6, 4], "1 to 3 vectors"),
        ("node_h_dim", [100], "[scalars, vectors]"),
        ("edge_in_dim", [32, 2], "1 vector"),
        ("edge_h_dim", 32, "[scalars, vectors]"),
        ("seq_in", "yes", "true or false"),
    ],
)
def test_a_bad_value_of_the_network_is_rejected_by_key_and_value(key, value, allowed):
    with pytest.raises(UserError) as error:
        NetworkSettings(**{key: value})
    assert str(error.value).startswith((f"model.{key}={value!r}: ", f"model.{key}={value}: "))
    assert allowed in str(error.value)


@pytest.mark.parametrize("key", ["lambda_vq", "lambda_ent", "lambda_psc", "lambda_summary", "coordinate_noise"])
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), "much", None, True])
def test_a_weight_or_noise_below_zero_or_no_number_is_rejected(key, value):
    with pytest.raises(UserError, match=rf"model\.{key}={value!r}: must be a number of 0 or more"):
        LossSettings(**{key: value})


@pytest.mark.parametrize("value", [-0.1, 2, float("nan"), "half", None, True])
def test_a_class_balance_outside_zero_to_one_is_rejected(value):
    with pytest.raises(
        UserError, match=rf"model\.class_balance={value!r}: must be a number of 0 or more and at most 1"
    ):
        LossSettings(class_balance=value)


def test_the_attention_of_the_encoder_in_local_frames_divides_the_channels():
    with pytest.raises(UserError, match=r"model\.node_h_dim=\[10, 2\]: .* must be a multiple of 4"):
        NetworkSettings(encoder="frames", node_h_dim=(10, 2))
