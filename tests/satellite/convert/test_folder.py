"""Converting a folder: layouts, resuming, what is skipped, and the summary."""

import os

import pytest

from partoken.errors import UserError
from partoken.satellite.convert.folder import Conversion, convert_folder
from partoken.satellite.dataset.folder import read_folder
from partoken.satellite.tiles.reading import Units
from partoken.system.tables import read_table
from tests.satellite.convert.patches import read_npy, version_1, version_2

VERSIONS = pytest.mark.parametrize("make", [version_1, version_2], ids=["version 1", "version 2"])


def convert(source, out, conversion=None, **options):
    return convert_folder(source, out, conversion, workers=0, **{"read": read_npy, **options})


@VERSIONS
def test_each_pair_becomes_a_tile_that_the_data_module_reads(tmp_path, make):
    summary = convert(make(tmp_path / "source"), tmp_path / "out")
    assert (summary.written, summary.already_there, summary.skipped) == (3, 0, [])
    found = read_folder(tmp_path / "out", Units())
    assert found.skipped == [] and found.num_inputs == 3
    assert len({info.scene for info in found.store.infos}) == 1
    assert {info.month for info in found.store.infos} == {6}


def test_a_stopped_conversion_continues_and_makes_no_tile_again(tmp_path):
    source, out = version_1(tmp_path / "source", 4), tmp_path / "out"
    reads = []

    def stop_at_the_third(path):
        reads.append(path)
        if len(reads) == 15:  # six bands a patch
            raise KeyboardInterrupt
        return read_npy(path)

    with pytest.raises(KeyboardInterrupt):
        convert(source, out, read=stop_at_the_third)
    done = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert len(done) == 2
    summary = convert(source, out)
    assert (summary.written, summary.already_there) == (2, 2)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert len(list(out.rglob("*.npz"))) == 4


def test_a_partial_tile_does_not_count(tmp_path, monkeypatch):
    source, out = version_1(tmp_path / "source", 1), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr("partoken.satellite.convert.folder.write_json", lambda *arguments: None)
        patch.setattr("partoken.satellite.convert.folder.write_skipped", lambda *arguments: None)
        with pytest.raises(KeyboardInterrupt):
            convert(source, out)
    assert list(out.rglob("*.npz")) == []
    assert convert(source, out).written == 1


def test_tiles_of_other_settings_are_not_mixed(tmp_path):
    source, out = version_2(tmp_path / "source", offset=1000), tmp_path / "out"
    convert(source, out, Conversion(assumed_offset=1000))
    with pytest.raises(UserError, match=r"holds tiles made with .*1000.*, not .*convert into an empty folder"):
        convert(source, out)
    (out / "conversion.json").write_text("{")
    with pytest.raises(UserError, match=r"conversion.json is damaged"):
        convert(source, out)


def test_unusable_patches_are_listed_and_the_others_converted(tmp_path):
    source = version_1(tmp_path / "source")
    next(source.rglob("*_1_45_B04.tif")).write_bytes(b"not an image")
    next(source.rglob("*_2_45_VH.tif")).unlink()
    summary = convert(source, tmp_path / "out")
    assert summary.written == 1 and "2 not usable; see skipped.csv" in summary.lines()[0]
    rows = read_table(tmp_path / "out" / "skipped.csv")
    assert [row["reason"].split("_")[-1] for row in rows] == ["B04.tif is damaged", "VH.tif"]


def test_if_nothing_can_be_converted_the_first_reason_is_shown(tmp_path):
    source = version_1(tmp_path / "source", 2)
    for path in source.rglob("*_VV.tif"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 2 patches can be converted, see skipped.csv; the first: .*damaged"):
        convert(source, tmp_path / "out")


def test_the_summary_tells_what_decided_the_offset(tmp_path):
    removed = convert(version_2(tmp_path / "a", baseline="N0400", offset=1000), tmp_path / "a_out")
    assert removed.lines()[1:] == ["optical offset 1000 removed from 3 tiles"]
    unknown = convert(version_2(tmp_path / "b"), tmp_path / "b_out")
    assert unknown.lines()[1:] == ["nothing states the optical offset of 3 tiles: --s2-offset decided"]
    suspicious = convert(version_2(tmp_path / "c", offset=1000), tmp_path / "c_out")
    assert suspicious.lines()[-1].startswith("warning: 3 of them have no count below 1000")


def test_the_splits_of_the_metadata_are_written_only_if_asked_for(tmp_path):
    source = version_2(tmp_path / "source", 1)
    name = next(source.rglob("*_B02.tif")).parent.name
    (source / "metadata.csv").write_text(f"patch_id,split\n{name},test\n")
    for keep, split in ((False, ""), (True, "test")):
        out = tmp_path / f"out_{keep}"
        convert(source, out, Conversion(keep_splits=keep))
        [info] = read_folder(out, Units()).store.infos
        assert info.split == split


def test_several_processes_write_the_same_tiles(tmp_path):
    source = version_1(tmp_path / "source")
    convert_folder(source, tmp_path / "one", read=read_npy, workers=0)
    convert_folder(source, tmp_path / "two", read=read_npy, workers=2)
    one, two = (read_folder(tmp_path / name, Units()).store for name in ("one", "two"))
    assert one.infos == two.infos
    assert all((a.s2 == b.s2).all() for a, b in zip(one.read(range(3)), two.read(range(3)), strict=True))


def test_a_limit_converts_the_first_patches(tmp_path):
    assert convert(version_1(tmp_path / "source"), tmp_path / "out", limit=2).written == 2
