"""The order in which chains get pages."""

from partoken.protein.facts.choice import describe_choice, order_chains
from tests.protein.facts.seen_chains import seen_chain


def sure(confidence):
    return {"a": confidence, "b": 1 - confidence}


def names(chains, with_sites=()):
    return [one.backbone.id for one in order_chains(chains, "", with_sites)]


def test_a_named_chain_comes_before_chains_with_sites_and_these_before_the_rest():
    places = {"train": "train", "test": "test", "site": "train", "own": "given"}
    chains = [seen_chain(name, split=split) for name, split in places.items()]
    assert names(chains, ["site"]) == ["own", "site", "test", "train"]


def test_among_many_named_chains_those_with_sites_come_first():
    chains = [seen_chain(f"own{i}", split="given") for i in range(4)]
    assert names(chains, ["own2", "own3"]) == ["own2", "own3", "own0", "own1"]


def test_many_named_chains_leave_room_for_chains_of_the_run_with_sites():
    chains = [seen_chain(f"own{i}", split="given") for i in range(3)]
    chains += [seen_chain(f"site{i}", probabilities=sure(0.9 - i / 10)) for i in range(2)]
    assert names(chains, ["site0", "site1"]) == ["own0", "site0", "own1", "site1", "own2"]


def test_right_and_wrong_answers_of_every_class_take_turns():
    chains = [seen_chain(f"right{i}", probabilities=sure(0.6 + i / 10)) for i in range(3)]
    chains += [seen_chain(f"wrong{i}", probabilities=sure(0.6 + i / 10), truth="b") for i in range(2)]
    assert names(chains) == ["right2", "wrong1", "right1", "wrong0", "right0"]


def test_every_chain_comes_once():
    chains = [
        seen_chain(f"{split}{truth}", split=split, truth=truth)
        for split in ("test", "validation", "train", "given")
        for truth in ("a", "b", None)
    ]
    assert sorted(names(chains, ["testa"])) == sorted(one.backbone.id for one in chains)


def test_the_choice_is_described_only_if_there_was_one():
    chains = [seen_chain("a"), seen_chain("b")]
    assert describe_choice(2, chains, "of the size") is None
    assert describe_choice(1, chains, "of the size").startswith("1 of 2 chains have a page, because of the size.")
