"""Scores of several answers side by side, over batches and devices."""

import pytest
import torch

from partoken.satellite.evaluation import Scoreboard, band_facts


def board(*places):
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(4, 4, 16, 16, generator=generator)
    noise = 0.1 * torch.randn(truth.shape, generator=generator)
    scores = Scoreboard()
    for place in places:
        rows = slice(place, place + 1)
        own = truth[rows] + noise[rows]
        half = truth[rows] + 0.5 * noise[rows]
        scores.add({"own": own, "better": half}, truth[rows], torch.ones(1, 16, 16, dtype=torch.bool))
    return scores


def test_answers_are_scored_separately_for_all_bands_and_each():
    scores, per_band = board(0, 1).scores(), board(0, 1).per_band()
    assert list(scores) == ["own", "better"]
    assert scores["own"]["psnr"] + 4 < scores["better"]["psnr"]
    assert per_band["own"]["b4"]["mae"] == pytest.approx(0.08, abs=0.015)
    assert sum(per_band["own"][band]["mae"] for band in per_band["own"]) / 4 == pytest.approx(scores["own"]["mae"])


def test_devices_together_have_the_scores_of_one(monkeypatch):
    devices = [board(0, 1), board(2, 3)]

    def gather(parts, own):
        parts[:] = [{name: item.sums for name, item in device.answers.items()} for device in devices]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    first = board(0, 1)
    first.gather(world_size=2)
    for name, scores in board(0, 1, 2, 3).scores().items():
        assert first.scores()[name] == pytest.approx(scores)


def test_a_single_device_gathers_nothing():
    alone = board(0)
    before = alone.scores()
    alone.gather(world_size=1)
    assert alone.scores() == before


def test_the_facts_state_the_data_ranges_and_a_line_for_each_band():
    facts = band_facts(board(0).per_band()["own"])
    assert "data range 1" in facts["scores"] and "0.3" in facts["scores"]
    assert list(facts) == ["scores", "b2", "b3", "b4", "b8"]
    assert all("dB" in facts[band] for band in ("b2", "b3", "b4", "b8"))
