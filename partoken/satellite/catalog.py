"""Creates the data module of a source: one function for each satellite file of `conf/data`."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from partoken.errors import check_number
from partoken.satellite.baselines import fit_baselines
from partoken.satellite.dataset.datamodule import TileDataModule
from partoken.satellite.dataset.folder import TileCollection, read_folder
from partoken.satellite.dataset.options import TileOptions
from partoken.satellite.dataset.packed import read_packed
from partoken.satellite.tiles.reading import Units
from partoken.system.instantiation import check_arguments

__all__ = ["embedded", "tiles"]


def tiles(
    root: str,
    s1_units: str = "db",
    s2_offset: int | None = None,
    memory_limit_mb: int = 4000,
    **options: Any,
) -> TileDataModule:
    """Creates the data module of a folder of NPZ tiles; `tiles.reading` describes the format.

    Arguments:
        root: the folder; its NPZ files at any depth.
        s1_units: units of the radar: "db", or "linear" for power.
        s2_offset: offset of the optical counts in tiles that do not state it: 0 or 1000; None: 0, if no tile states it.
        memory_limit_mb: megabytes of pixels to keep in memory; further tiles are read for each batch.
        options: fields of `TileOptions`, and `batch_size`, `num_workers` and `seed` of `TileDataModule`.

    Raises:
        UserError: an option is out of range.
    """
    units = Units(s1_units, s2_offset)
    check_number("data.memory_limit_mb", memory_limit_mb, minimum=0, whole=True)

    def read() -> TileCollection:
        return read_folder(root, units, memory_limit=memory_limit_mb * 1_000_000)

    return _create("tiles", read, units, **options)


def embedded(**options: Any) -> TileDataModule:
    """Creates the data module of the tiles that ship with the package; NOTICE names their source.

    Arguments:
        options: fields of `TileOptions`, and `batch_size`, `num_workers` and `seed` of `TileDataModule`.

    Raises:
        UserError: an option is out of range.
    """
    path = Path(str(resources.files("partoken.satellite.embedded") / "tiles.npz"))
    return _create("embedded tiles", lambda: read_packed(path), Units(), **options)


def _create(
    name: str,
    read_source: Callable[[], TileCollection],
    units: Units,
    *,
    batch_size: int = 8,
    num_workers: int = 0,
    seed: int = 0,
    **options: Any,
) -> TileDataModule:
    """Creates a data module; `options` are fields of `TileOptions`."""
    check_arguments(TileOptions, options, f"the {name}", "data")
    return TileDataModule(
        read_source,
        TileOptions(**options),
        fit_baselines=fit_baselines,
        provenance={"name": name, "s1_units": units.s1_units, "s2_offset": units.s2_offset},
        batch_size=batch_size,
        num_workers=num_workers,
        seed=seed,
    )
