"""Batches by number of chains and by residues, on one device and several."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partoken.errors import UserError
from partoken.protein.dataset.batching import BatchSampler, count_batches

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(np.array)
MANY = st.lists(st.integers(1, 500), min_size=24, max_size=60).map(np.array)  # each batch has a chain for each device


def epoch(sampler: BatchSampler, number: int) -> list[list[int]]:
    sampler.set_epoch(number)
    return list(sampler)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.sampled_from([None, 500, 800, 3000]), st.integers(1, 3), st.booleans())
def test_an_epoch_has_every_chain_once_and_the_same_number_of_batches_on_each_device(
    lengths, size, residues, world, shuffle
):
    options = dict(batch_size=size, max_residues=residues, shuffle=shuffle, seed=3, world_size=world)
    try:
        count = count_batches(lengths, size, residues, world)
    except UserError:
        assert len(lengths) < world or (residues is not None and world > 1)
        return
    devices = [BatchSampler(lengths, rank=rank, **options) for rank in range(world)]
    for number in (0, 1):
        parts = [epoch(device, number) for device in devices]
        assert {len(part) for part in parts} == {count // world} == {len(device) for device in devices}
        batches = [batch for part in parts for batch in part]
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        assert all(batches)
        if residues is not None:
            assert max(lengths[batch].sum() for batch in batches) <= residues
        elif world == 1:
            assert max(map(len, batches)) <= size
            assert max(map(len, batches)) - min(map(len, batches)) <= 1


@settings(max_examples=40, deadline=None)
@given(MANY, st.integers(2, 4), st.integers(2, 3), st.integers(1, 2))
def test_the_parts_of_the_devices_are_the_batches_of_one_device_with_the_whole_batch(lengths, size, world, per_pass):
    options = dict(epochs_per_pass=per_pass, seed=3)
    one = BatchSampler(lengths, batch_size=size * world, **options)
    devices = [BatchSampler(lengths, batch_size=size, world_size=world, rank=rank, **options) for rank in range(world)]
    for number in range(3):
        parts = [epoch(device, number) for device in devices]
        for whole, *own in zip(epoch(one, number), *parts, strict=True):
            assert [row for part in own for row in part] == whole
            assert max(map(len, own)) <= size
            for rank, part in enumerate(own):
                before = [row for other in own[:rank] for row in other]
                assert part.share.chains == (len(before), len(whole))
                assert part.share.residues == (lengths[before].sum(), lengths[whole].sum())


@pytest.mark.parametrize("residues", [None, 2000])
def test_the_order_depends_only_on_seed_and_epoch(residues):
    lengths = np.random.default_rng(0).integers(40, 500, 200)

    def make(seed: int) -> BatchSampler:
        return BatchSampler(lengths, batch_size=8, max_residues=residues, seed=seed)

    one, two = make(0), make(0)
    assert epoch(one, 0) == epoch(two, 0)
    assert epoch(one, 1) != epoch(one, 0)
    assert epoch(one, 5) == epoch(make(0), 5), "a resumed epoch has the order of the interrupted one"
    assert epoch(make(1), 0) != epoch(make(0), 0)
    first, second = ({frozenset(batch) for batch in epoch(one, e)} for e in (0, 1))
    assert len(first & second) < 0.2 * len(first), "the next epoch has other batches"


def test_batches_by_residues_are_nearly_full():
    lengths = np.random.default_rng(0).integers(40, 500, 1000)
    count = count_batches(lengths, 1, 8000)
    assert count <= 1.03 * np.ceil(lengths.sum() / 8000)


def test_evaluation_keeps_the_order_of_the_chains():
    sampler = BatchSampler(np.full(5, 100), batch_size=2, shuffle=False)
    assert list(sampler) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("residues", [None, 700])
@pytest.mark.parametrize("world", [1, 2])
def test_the_epochs_of_a_pass_together_have_every_chain_once(residues, world):
    lengths = np.random.default_rng(0).integers(40, 500, 50)
    options = dict(batch_size=4, max_residues=residues, epochs_per_pass=3, seed=1, world_size=world)
    devices = [BatchSampler(lengths, rank=rank, **options) for rank in range(world)]
    passes = []
    for first in (0, 3):
        parts = [epoch(device, first + e) for e in range(3) for device in devices]
        assert {len(part) for part in parts} == {len(devices[0])}
        passes.append([row for part in parts for batch in part for row in batch])
        assert sorted(passes[-1]) == list(range(50))
    assert passes[0] != passes[1], "the next pass has another order"


def test_too_long_chains_and_too_few_chains_are_errors():
    with pytest.raises(UserError, match=r"max_residues_per_batch=300.*701"):
        count_batches(np.array([100, 701]), 8, 300)
    with pytest.raises(UserError, match="1 chains are too few for 2 devices and epochs"):
        count_batches(np.array([100]), 8, None, 2)
