"""Sums, gathered rows and random draws over several processes."""

import pytest
import torch
import torch.nn.functional as F

from partoken.system import distributed
from partoken.system.distributed import Dropout, Rows, draw, gather_rows, gathered, part_of_mean, total
from tests.devices import on_devices

PARTS = [Rows(0, 7), Rows(3, 7), Rows(4, 7)]
SIZES = [3, 1, 3]


@pytest.fixture
def three(monkeypatch):
    """Makes this process the second of three."""
    monkeypatch.setattr(distributed, "num_processes", lambda: 3)
    monkeypatch.setattr(distributed, "process_number", lambda: 1)


def seeded(function):
    torch.manual_seed(5)
    return function()


@pytest.mark.parametrize("fill", [torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.exponential_])
def test_the_draws_of_the_parts_are_those_of_the_whole(fill):
    whole = seeded(lambda: fill(torch.empty(7, 4)))
    states = set()
    for rows, size in zip(PARTS, SIZES, strict=True):
        part = seeded(lambda rows=rows, size=size: draw(torch.empty(size, 4), fill, rows))
        assert torch.equal(part, whole[rows.start : rows.start + size])
        states.add(torch.get_rng_state().numpy().tobytes())
    assert len(states) == 1, "the generators of all processes stay equal"


def test_the_dropout_of_the_parts_is_that_of_the_whole(three):
    x = torch.randn(7, 2, 4)
    whole = seeded(lambda: F.dropout(x, 0.3))
    for rows, size in zip(PARTS, SIZES, strict=True):
        part = seeded(lambda rows=rows, size=size: Dropout(0.3)(x[rows.start :][:size], rows))
        assert torch.equal(part, whole[rows.start : rows.start + size])


def test_a_single_process_drops_what_torch_drops():
    x = torch.randn(5, 6)
    assert torch.equal(seeded(lambda: Dropout(0.3)(x)), seeded(lambda: F.dropout(x, 0.3)))
    assert torch.equal(Dropout(0.3).eval()(x), x)


def test_without_rows_each_process_drops_other_elements_and_the_generators_stay_equal(three, monkeypatch):
    x, answers, states = torch.ones(100, 20), [], set()
    for number in range(3):
        monkeypatch.setattr(distributed, "process_number", lambda number=number: number)
        answers.append(seeded(lambda: Dropout(0.25)(x)))
        states.add(torch.get_rng_state().numpy().tobytes())
    assert len(states) == 1
    for first, second in ((0, 1), (1, 2), (0, 2)):
        same = ((answers[first] == 0) == (answers[second] == 0)).double().mean()
        assert same == pytest.approx(0.75**2 + 0.25**2, abs=0.05)
    assert answers[0].mean() == pytest.approx(1.0, abs=0.05)
    assert answers[0].unique().tolist() == pytest.approx([0.0, 1 / 0.75])


def collect():
    rank = torch.distributed.get_rank()
    x = torch.tensor([1.0 + rank, 10.0], dtype=torch.float64, requires_grad=True)
    summed = total(x)
    # The loss of this process; the whole loss is the sum over the processes.
    ((1 + rank) * summed.square()).sum().backward()
    rows = torch.full((2 * rank, 3), float(rank))
    return {"sum": summed.detach(), "grad": x.grad, "stacked": gathered(torch.tensor(rank)), "rows": gather_rows(rows)}


def test_two_processes_sum_values_and_gradients_and_join_their_rows():
    for result in on_devices(collect):
        assert result["sum"].tolist() == [3.0, 20.0]
        # The whole loss is 3 s^2, so its gradient is 6 s.
        assert result["grad"].tolist() == [18.0, 120.0]
        assert result["stacked"].tolist() == [0, 1]
        assert result["rows"].tolist() == [[1.0] * 3] * 2


def test_the_mean_over_processes_of_weighted_means_is_the_mean_over_all_rows(three):
    values = torch.arange(7.0)
    parts = [values[rows.start :][:size] for rows, size in zip(PARTS, SIZES, strict=True)]
    means = [part.mean() * part_of_mean(len(part), rows) for part, rows in zip(parts, PARTS, strict=True)]
    assert sum(means) / 3 == pytest.approx(3.0)
