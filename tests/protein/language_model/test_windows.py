"""Windows of long chains: every residue once, with context; and batches of bounded size."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from partoken.protein.language_model.windows import batches, cut


@given(length=st.integers(1, 5000), size=st.integers(16, 1022))
def test_every_residue_is_kept_once_and_has_context(length, size):
    windows = cut(3, length, size)
    assert [w.first for w in windows] == [0, *(w.last for w in windows[:-1])] and windows[-1].last == length
    for w in windows:
        assert w.chain == 3 and 0 <= w.start <= w.first < w.last <= w.stop <= length
        assert w.stop - w.start == min(size, length)
        assert w.start == 0 or w.first - w.start >= size // 8
        assert w.stop == length or w.stop - w.last >= size // 8


def test_a_chain_that_fits_is_not_cut():
    assert len(cut(0, 1022, 1022)) == 1
    assert len(cut(0, 1023, 1022)) == 2


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=30), size=st.integers(16, 100))
def test_batches_have_all_windows_in_order_and_at_most_the_residues_allowed(lengths, size):
    found = list(batches(lengths, size, 250))
    assert list(chain(*found)) == [w for i, length in enumerate(lengths) for w in cut(i, length, size)]
    assert all(len(batch) * max(w.stop - w.start for w in batch) <= 250 for batch in found)


def test_a_window_with_more_residues_than_a_batch_is_alone():
    assert [len(batch) for batch in batches([100, 100, 20], 100, 50)] == [1, 1, 1]
