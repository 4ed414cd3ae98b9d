"""Batches of tiles, on one device and several, over one pass or more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partoken.errors import UserError
from partoken.satellite.dataset.batching import TileSampler, count_batches


def epoch(sampler, number):
    sampler.set_epoch(number)
    return list(sampler)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3))
def test_an_epoch_has_every_tile_once_per_pass_and_as_many_batches_on_each_device(tiles, size, passes, world):
    options = dict(batch_size=size, passes_per_epoch=passes, seed=3, world_size=world)
    try:
        count = count_batches(tiles, size, passes, world)
    except UserError:
        assert tiles * passes < world
        return
    devices = [TileSampler(tiles, rank=rank, **options) for rank in range(world)]
    for number in (0, 4):
        parts = [epoch(device, number) for device in devices]
        assert {len(part) for part in parts} == {count // world} == {len(device) for device in devices}
        items = [item for part in parts for batch in part for item in batch]
        wanted = [(tile, number * passes + i) for tile in range(tiles) for i in range(passes)]
        assert sorted(items) == sorted(wanted)
        lengths = {len(batch) for part in parts for batch in part}
        assert min(lengths) >= 1 and max(lengths) <= size + (count * size < tiles * passes)
        assert max(lengths) - min(lengths) <= 1


@given(st.integers(15, 40), st.integers(2, 5), st.integers(1, 3), st.integers(2, 3))
def test_the_parts_of_the_devices_are_the_batches_of_one_device_with_the_whole_batch(tiles, size, passes, world):
    one = TileSampler(tiles, batch_size=size * world, passes_per_epoch=passes)
    places = [dict(world_size=world, rank=rank) for rank in range(world)]
    devices = [TileSampler(tiles, batch_size=size, passes_per_epoch=passes, **place) for place in places]
    for whole, *own in zip(epoch(one, 4), *(epoch(device, 4) for device in devices), strict=True):
        assert [item for part in own for item in part] == whole
        assert [part.share for part in own] == [(sum(map(len, own[:rank])), len(whole)) for rank in range(world)]


def test_the_order_depends_only_on_seed_and_epoch():
    def make(seed=0):
        return TileSampler(50, batch_size=8, seed=seed)

    assert epoch(make(), 5) == epoch(make(), 5)
    assert epoch(make(), 5) != epoch(make(), 6) and epoch(make(1), 5) != epoch(make(), 5)


def test_a_resumed_epoch_continues_after_the_batches_that_were_used():
    sampler = TileSampler(50, batch_size=8)
    whole = epoch(sampler, 2)
    sampler.start = 3
    assert epoch(sampler, 2) == whole[3:]


def test_a_later_stage_continues_the_passes_of_the_earlier_ones():
    sampler = TileSampler(50, batch_size=8, passes_per_epoch=2)
    sampler.first_epoch = 3
    assert epoch(sampler, 1) == epoch(TileSampler(50, batch_size=8, passes_per_epoch=2), 4)


def test_passes_do_not_depend_on_how_many_an_epoch_has():
    one = [batch for number in range(4) for batch in epoch(TileSampler(8, batch_size=4), number)]
    two = [batch for number in range(2) for batch in epoch(TileSampler(8, batch_size=4, passes_per_epoch=2), number)]
    assert one == two


def test_evaluation_keeps_the_order_and_marks_the_pass():
    assert list(TileSampler(5, batch_size=2, shuffle=False)) == [
        [(0, -1), (1, -1)],
        [(2, -1)],
        [(3, -1), (4, -1)],
    ]
    assert np.concatenate(list(TileSampler(5, batch_size=2, shuffle=False)))[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_fewer_tiles_than_devices_are_an_error():
    with pytest.raises(UserError, match="1 tiles are too few for 2 devices"):
        count_batches(1, 8, 1, 2)
