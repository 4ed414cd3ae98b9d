"""The data report in the log: tiles, scenes, masked pixels, offset, leaks."""

from partoken.satellite.dataset.report import describe_report

REPORT = {
    "files": 60,
    "tiles_read": 55,
    "tiles_used": 50,
    "tile_size": [120, 120],
    "split": "scene",
    "tiles": {"train": 40, "val": 5, "test": 5},
    "scenes": {"train": 7, "val": 1, "test": 3},
    "scenes_in_several_splits": [],
    "pixels": {"train": 576_000, "val": 72_000, "test": 72_000},
    "masked_pixels": {split: {"radar": 72, "optical": 720} for split in ("train", "val", "test")},
    "with_month": 50,
    "with_biome": 0,
    "s2_offset_subtracted": 0,
    "s2_offset_stated": 0,
    "tiles_without_dark_pixels": 2,
    "tiles_read_per_batch": 0,
    "left_out": {"without_split": 0, "over_limit": 0, "skipped": {}},
}


def test_the_usual_lines_say_how_many_tiles_scenes_and_masked_pixels():
    assert describe_report(REPORT) == [
        "data: 50 of 60 tiles of 120 x 120 pixels; splits by scene: train 40 of 7 scenes, val 5 of 1 scene, "
        "test 5 of 3 scenes",
        "masked pixels: radar 216 (0.03%), optical 2,160 (0.30%); month known for 50, biome for 0",
        "optical offset: 0, as data.s2_offset says",
    ]


def test_what_is_left_out_is_counted_by_reason():
    left_out = {"without_split": 2, "over_limit": 0, "skipped": {f"reason {i}": 5 - i for i in range(5)}}
    lines = describe_report({**REPORT, "left_out": left_out})
    assert lines[3:] == [
        "left out: tiles without a split 2",
        "skipped, see skipped.csv: reason 0 (5), reason 1 (4), reason 2 (3), others (3)",
    ]


def test_scenes_in_several_splits_are_called_a_leak():
    line = describe_report({**REPORT, "scenes_in_several_splits": list("abcde")})[-1]
    assert line.startswith("leak: a, b, c and 2 more: scenes with tiles in more than one split")


def test_tiles_without_dark_pixels_raise_the_suspicion_of_an_offset():
    bright = {**REPORT, "tiles_without_dark_pixels": 48}
    assert "check whether data.s2_offset=1000 is right" in describe_report(bright)[2]
    assert describe_report({**bright, "s2_offset_stated": 50})[2] == "optical offset: 0, as the tiles state"


def test_tiles_beyond_the_memory_limit_are_named():
    line = describe_report({**REPORT, "tiles_read_per_batch": 12})[-1]
    assert line.startswith("12 tiles exceed data.memory_limit_mb")
