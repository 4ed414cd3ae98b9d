"""`train.groups`: which parameters a group has, and their rate, warm-up and weight decay."""

import pytest
import torch
from torch import nn

from partoken.errors import UserError
from partoken.schedule import RunLength, plan_groups
from partoken.training.groups import divide
from partoken.training.optim import parameter_groups
from partoken.training.settings import TrainSettings
from partoken.training.torch_scheduler import check_torch_scheduler
from tests.training.adversarial import Adversarial
from tests.training.runs import TRAIN
from tests.training.toy import ToyModule


def settings(**changes):
    return TrainSettings.read({**TRAIN, **changes})


def parts(module, **groups):
    return divide(dict(module.named_parameters()), settings(groups=groups).parameter_groups())


class Tower(nn.Module):
    """An encoder of three layers between an embedding and a head, with a number in the name of the encoder itself."""

    def __init__(self):
        super().__init__()
        layers = [nn.Linear(2, 2, bias=False) for _ in range(3)]
        self.encoder2 = nn.ModuleDict({"embedding": nn.Embedding(5, 2), "layers": nn.ModuleList(layers)})
        self.head = nn.Linear(2, 1)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("encoder2.*", ["encoder2.embedding.weight", *(f"encoder2.layers.{n}.weight" for n in range(3))]),
        ("encoder2.layers", [f"encoder2.layers.{n}.weight" for n in range(3)]),
        (["head.bias", "*.embedding.*"], ["encoder2.embedding.weight", "head.bias"]),
        ("*.layers.[12].*", ["encoder2.layers.1.weight", "encoder2.layers.2.weight"]),
    ],
    ids=["pattern", "part of the model", "list", "range"],
)
def test_a_group_has_the_parameters_that_its_patterns_match_and_the_rest_is_the_default(match, expected):
    tower = Tower()
    default, own = parts(tower, chosen={"match": match})
    assert (default.name, own.name, list(own.parameters)) == ("default", "chosen", expected)
    assert {**default.parameters, **own.parameters}.keys() == dict(tower.named_parameters()).keys()
    assert not default.parameters.keys() & own.parameters.keys()


def test_without_a_parameter_of_its_own_there_is_no_default_group():
    assert [part.name for part in parts(Tower(), all={"match": "*"})] == ["all"]


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_name():
    with pytest.raises(UserError) as caught:
        parts(Tower(), own={"match": ["head.*", "encoder.*"]})
    assert str(caught.value).startswith("train.groups.own.match=encoder.*: matches no parameter that is trained.")
    assert "Did you mean encoder2?" in str(caught.value)


def test_a_parameter_that_two_groups_match_is_refused():
    with pytest.raises(
        UserError, match=r"groups\.b\.match=\*\.bias: matches head\.bias, which train\.groups\.a\.match"
    ):
        parts(Tower(), a={"match": "head"}, b={"match": "*.bias"})


def test_two_patterns_of_a_group_may_match_the_same_parameter():
    assert len(parts(Tower(), a={"match": ["head", "*.bias"]})[1].parameters) == 2


def test_the_rate_falls_from_the_highest_layer_to_what_has_no_layer():
    found = {part.name: part.share for part in parts(Tower(), own={"match": "encoder2.*", "layer_decay": 0.5})}
    assert found == {
        "default": 1.0,
        "own.base": 0.125,  # the embedding, as layer 0 of 3
        "own.0": 0.25,
        "own.1": 0.5,
        "own.2": 1.0,
    }


def test_layers_are_the_list_of_modules_with_most_of_the_parameters():
    layers = [f"e.layers.{n}.feed.{m}.weight" for n in (0, 1, 10) for m in range(5)]
    names = [*(f"e.inputs.{n}.weight" for n in range(4)), *layers, "e.out.1.bias"]
    groups = settings(groups={"own": {"match": "e", "layer_decay": 0.1}}).parameter_groups()
    found = divide(dict.fromkeys(names, nn.Parameter(torch.zeros(1))), groups)
    assert [part.name for part in found] == ["own.base", "own.0", "own.1", "own.10"]
    assert [part.share for part in found] == pytest.approx([0.001, 0.01, 0.1, 1])
    assert list(found[0].parameters) == [name for name in names if name not in layers]


def test_a_group_without_layers_has_no_layer_decay():
    with pytest.raises(
        UserError, match=r"groups\.own\.layer_decay=0\.5: no parameter that head matches has the number"
    ):
        parts(Tower(), own={"match": "head", "layer_decay": 0.5})


def torch_groups(module, **changes):
    own = settings(**changes)
    named = own.parameter_groups()
    rates = {"": own.lr, **{group.name: group.settings.lr for group in named}}
    return parameter_groups(divide(dict(module.named_parameters()), named), own, rates, {})


def test_each_group_has_its_peak_and_its_weight_decay_and_spares_biases_and_norms():
    groups = {"head": {"match": "head", "factor": 0.5, "weight_decay": 0.3}, "still": {"match": "*embedding*", "lr": 2}}
    groups["still"]["weight_decay"] = 0
    found = [
        (g.name, len(g.parameters), g.lr, g.weight_decay)
        for g in torch_groups(Tower(), weight_decay=0.1, groups=groups)
    ]
    assert found == [
        ("default", 3, 0.1, 0.1),
        ("head", 1, 0.05, 0.3),
        ("head", 1, 0.05, 0.0),
        ("still", 1, 2, 0),
    ]


def test_without_the_preset_every_parameter_decays():
    [group] = torch_groups(nn.Linear(2, 2), weight_decay=0.1, no_weight_decay="none")
    assert (len(group.parameters), group.weight_decay) == (2, 0.1)


def test_the_preset_may_be_left_out_for_one_group():
    groups = {"own": {"match": "head", "no_weight_decay": "none"}}
    found = [
        (g.name, len(g.parameters), g.weight_decay) for g in torch_groups(Tower(), weight_decay=0.1, groups=groups)
    ]
    assert found == [("default", 4, 0.1), ("own", 2, 0.1)]


def test_the_settings_of_a_group_begin_with_those_of_its_stage():
    stages = [
        {"epochs": 2, "lr": 0.4},
        {"epochs": 2, "groups": {"own": {"match": "*", "lr": 0.5}}},
        {"epochs": 1, "groups": None},
    ]
    first, second, third = settings(stages=stages, groups={"own": {"match": "*", "factor": 0.5}}).run_stages()
    assert [group.settings.lr for group in first.settings.parameter_groups()] == [0.2]
    [group] = second.settings.parameter_groups()
    assert (group.path, group.settings.lr) == ("train.stages[1].groups.own", 0.5)
    assert third.settings.parameter_groups() == ()


def test_groups_are_sorted_so_that_their_order_in_a_file_decides_nothing():
    groups = {name: {"match": name} for name in ("b", "a")}
    assert [group.name for group in settings(groups=groups).parameter_groups()] == ["a", "b"]


def test_a_short_run_has_the_warm_up_of_its_stages_in_every_group():
    groups = {"own": {"match": "*", "warmup_steps": 50}}
    [group] = settings(groups=groups, stage_epochs=1, warmup_steps=None).parameter_groups()
    assert group.settings.warmup_steps is None


def test_a_scaled_rate_is_scaled_in_every_group():
    groups = {"a": {"match": "head", "lr": 0.5}, "b": {"match": "encoder", "factor": 0.5}}
    scaled = settings(lr=0.1, lr_scaling="linear", lr_scaling_base_batch=2, groups=groups)
    length = RunLength(total_epochs=3, total_steps=21, steps_per_epoch=7)
    plans = plan_groups(scaled.run_stages(), length, effective_batch=8)
    assert {name: plan.lr for name, plan in plans.items()} == pytest.approx({"a": 2.0, "b": 0.2})


OWN = {"match": "head"}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], r"train\.groups=\[\]: must be a mapping"),
        ({}, r"train\.groups=\{\}: must be a mapping"),
        ("head", r"train\.groups='head': must be a mapping"),
        ({"a": 3}, r"train\.groups\.a=3: must be a mapping"),
        ({"a b": OWN}, r"train\.groups\.a b: the name of a group must consist of letters"),
        ({"default": OWN}, r"train\.groups\.default: this is the name of the parameters without a group"),
        ({"a": {**OWN, "rate": 1}}, r"train\.groups\.a\.rate is not a key here; allowed: match"),
        ({"a": {"lr": 1}}, r"train\.groups\.a\.match=None: must be a pattern"),
        ({"a": {"match": []}}, r"train\.groups\.a\.match=\[\]: must be a pattern"),
        ({"a": {"match": ["head", 3]}}, r"train\.groups\.a\.match=\['head', 3\]: must be a pattern"),
        ({"a": {**OWN, "lr": 0}}, r"train\.groups\.a\.lr=0: must be a number above 0"),
        ({"a": {**OWN, "factor": -1}}, r"train\.groups\.a\.factor=-1: must be a number above 0"),
        ({"a": {**OWN, "factor": 1, "lr": 1}}, r"train\.groups\.a\.lr=1 and train\.groups\.a\.factor=1: .* one peak"),
        ({"a": {**OWN, "layer_decay": 2}}, r"train\.groups\.a\.layer_decay=2: must be a number above 0 and at most 1"),
        ({"a": {**OWN, "weight_decay": -1}}, r"train\.groups\.a\.weight_decay=-1: must be"),
        ({"a": {**OWN, "no_weight_decay": "norms"}}, r"train\.groups\.a\.no_weight_decay=norms: choose"),
        ({"a": {**OWN, "warmup_steps": 0.5}}, r"train\.groups\.a\.warmup_steps=0\.5: must be a whole number"),
    ],
)
def test_a_group_that_cannot_be_is_refused_by_its_key(groups, message):
    with pytest.raises(UserError, match=message):
        settings(groups=groups)


STEP = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}
ONE_CYCLE = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1, "total_steps": 30}
TORCH = {"use_cosine_schedule": False, "warmup_steps": None}


def test_a_scheduler_of_torch_knows_no_warm_up_of_a_group():
    groups = {"a": {"match": "*", "warmup_steps": 3}}
    with pytest.raises(UserError, match=r"train\.groups\.a\.warmup_steps=3: train\.scheduler moves the rates"):
        settings(groups=groups, scheduler=STEP, **TORCH)


def test_a_scheduler_of_torch_that_sets_all_rates_is_refused_if_groups_have_others():
    settings(groups={"a": {"match": "*", "factor": 1}}, scheduler=ONE_CYCLE, **TORCH)
    with pytest.raises(UserError, match=r"OneCycleLR gives every group of train\.groups the same rate"):
        settings(groups={"a": {"match": "*", "factor": 0.1}}, scheduler=ONE_CYCLE, **TORCH)
    check_torch_scheduler({**ONE_CYCLE, "max_lr": [0.1, 0.1, 0.2, 0.2]}, rates=(0.1, 0.2))


def test_a_group_belongs_to_the_optimizer_that_owns_its_parameters():
    module = Adversarial(
        train={**TRAIN, "groups": {"biases": {"match": "*.bias"}, "d": {"match": "discriminator.weight"}}}
    )
    found = {
        name: {part.name: list(part.parameters) for part in own}
        for name, own in module.parameter_parts(module.train_settings).items()
    }
    assert found == {
        "generator": {"default": ["generator.weight"], "biases": ["generator.bias"]},
        "discriminator": {"biases": ["discriminator.bias"], "d": ["discriminator.weight"]},
    }


def test_the_groups_of_a_model_are_checked_on_its_outline():
    with torch.device("meta"):
        module = ToyModule(train={**TRAIN, "groups": {"a": {"match": "encoder"}}})
    with pytest.raises(UserError, match="matches no parameter"):
        module.parameter_parts(module.train_settings)
