"""The labels of a network in the settings of a checkpoint, and their places among its logits."""

import torch

from partoken.protein.model.labels import learned_labels, shares, split_logits

TWO = {
    "labels": {
        "fold": {"class_names": ["a", "b", "c"], "multi_label": False, "weight": 3.0},
        "site": {"class_names": ["x", "y"], "multi_label": True, "weight": 1.0},
    }
}


def test_logits_are_split_in_the_order_of_the_labels():
    labels = learned_labels(TWO)
    parts = split_logits(torch.arange(10).view(2, 5), labels)
    assert {name: part.tolist() for name, part in parts.items()} == {
        "fold": [[0, 1, 2], [5, 6, 7]],
        "site": [[3, 4], [8, 9]],
    }
    assert shares(labels) == [0.75, 0.25]


def test_the_settings_of_an_older_checkpoint_are_those_of_a_single_label():
    (label,) = learned_labels({"class_names": ["a", "b"], "multi_label": True, "source": {}})
    assert (label.name, label.class_names, label.multi_label, label.weight) == ("", ("a", "b"), True, 1.0)
    assert learned_labels({"source": {}}) == ()
