"""Predicts files: what `partoken predict` calls for a checkpoint of this domain."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from partoken.errors import UserError, check_choice
from partoken.satellite.convert.geotiff import check_rasterio
from partoken.satellite.model.backbone import UNetBackbone
from partoken.satellite.model.refiner import TwoStages
from partoken.satellite.model.saved import load_network
from partoken.satellite.predict.images import GeoTiffImage, TileImage, open_image
from partoken.satellite.predict.outputs import write_prediction
from partoken.satellite.predict.sources import Found, Source, find_sources
from partoken.satellite.predict.windows import ALIGNMENT, count_windows, predict_strips
from partoken.satellite.tiles.batch import radar_of_packed
from partoken.satellite.tiles.tile import BadTile
from partoken.satellite.tiles.units import RADAR_UNITS
from partoken.system.device import choose_device
from partoken.system.skipped import Skipped, write_skipped

__all__ = ["PredictOptions", "TilePredictor", "predict_files"]

WINDOW = 512
"""Side of the windows in which the U-Net predicts large images, in pixels."""
SMALLEST_WINDOW = 64
SKIPPED = "predictions.skipped.csv"
MANY_WINDOWS = 8
"""An image with more windows has a progress bar of its own."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What the user may choose for a prediction.

    Raises:
        UserError: a value is not allowed.
    """

    month: int | None = None
    """1 to 12, for images that do not state theirs; None: unknown."""
    biome: int | None = None
    """0 to 15, for images that do not state theirs; None: unknown."""
    s1_units: str | None = None
    """Units of the radar: db or linear; None: those of the training tiles."""
    window: int | None = None
    """Side in pixels of the windows in which an image is predicted that is larger; a multiple of 16, at least 64. None:
    512 for the U-Net; for another backbone the size of the training tiles, rounded down."""

    def __post_init__(self) -> None:
        for name, first, last in (("month", 1, 12), ("biome", 0, 15)):
            value = getattr(self, name)
            if value is not None and value not in range(first, last + 1):
                raise UserError(f"--{name} {value}: must be {first} to {last}")
        if self.s1_units is not None:
            check_choice("--s1-units", self.s1_units, RADAR_UNITS)
        if self.window is not None and (self.window < SMALLEST_WINDOW or self.window % ALIGNMENT):
            raise UserError(f"--window {self.window}: must be a multiple of {ALIGNMENT}, at least {SMALLEST_WINDOW}")


class TilePredictor:
    """Predicts optical bands from radar with a trained network of stage 1 or stage 2.

    Arguments:
        checkpoint: a `.ckpt` file, or a run folder.
        device: device of the network, as in `torch.device`; None takes a GPU if there is one.
        options: what the user chose; None: nothing.

    Raises:
        UserError: the checkpoint does not exist, is damaged, or contains no network of this domain; or the device is
            unknown.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        device: str | None = None,
        options: PredictOptions | None = None,
    ) -> None:
        self.options = options or PredictOptions()
        self.saved = load_network(checkpoint)
        self.device = choose_device(device)
        self.saved.network.to(self.device)
        source = self.saved.data["source"]
        self.units: str = self.options.s1_units or source.get("s1_units", "db")
        self.window = self.options.window or self._default_window(source)
        self.skipped: list[Skipped] = []
        """Files that the latest prediction could not read, with the reasons."""

    def _default_window(self, source: Mapping[str, Any]) -> int:
        network = self.saved.network
        translator = network.translator if isinstance(network, TwoStages) else network
        if isinstance(translator.backbone, UNetBackbone):
            return WINDOW
        smaller_side: int = min(source["tile_size"])
        return max(SMALLEST_WINDOW, smaller_side // ALIGNMENT * ALIGNMENT)

    def answer(self, radar: np.ndarray, month: int = 0, biome: int = -1) -> np.ndarray:
        """Predicts an image at once.

        Arguments:
            radar: packed, int16 [2, H, W].
            month: 1 to 12; 0: unknown.
            biome: 0 to 15; -1: unknown.

        Returns:
            Reflectance of b2, b3, b4 and b8, float32 [4, H, W].
        """
        s1, s1_mask = radar_of_packed(radar[None])
        facts = (torch.tensor([value], dtype=torch.int64, device=self.device) for value in (month, biome))
        output = self.saved.predict(s1.to(self.device), s1_mask.to(self.device), *facts)
        reflectance: np.ndarray = output[0].cpu().numpy()
        return reflectance

    def predict_image(self, source: Source, out: Path, *, progress: bool = False) -> None:
        """Predicts one image, and writes its files into a folder; `progress` shows a bar for a large one.

        Raises:
            BadTile: the image cannot be used.
        """
        with open_image(source, self.units) as image:
            path = out / source.name
            path.parent.mkdir(parents=True, exist_ok=True)
            place = image.place if source.is_geotiff or (image.place and _has_rasterio()) else None
            self._write(path, image, place, progress)

    def write(
        self, paths: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str], *, progress: bool = False
    ) -> int:
        """Predicts images, and writes an NPZ and a PNG file for each, and a GeoTIFF file where its place is known.

        Files that cannot be predicted are listed in `predictions.skipped.csv` in the folder.

        Arguments:
            paths: files, folders and patterns, as in `partoken.satellite.predict.sources`.
            out: the folder, which is created; existing predictions of the same name are replaced.
            progress: True shows a progress bar.

        Returns:
            The number of images predicted.

        Raises:
            UserError: no image can be predicted, `out` is no folder or has an image to predict, or rasterio is needed
                and not installed.
        """
        out = Path(out)
        found = find_sources(paths)
        self.skipped = found.skipped
        _check_folder(out, found)
        out.mkdir(parents=True, exist_ok=True)
        (out / SKIPPED).unlink(missing_ok=True)
        predicted = 0
        for source in tqdm(found.sources, unit=" images", disable=not progress or len(found.sources) == 1):
            try:
                self.predict_image(source, out, progress=progress)
                predicted += 1
            except BadTile as error:
                self.skipped.append(Skipped("", source.shown, str(error)))
        if self.skipped:
            write_skipped(out / SKIPPED, self.skipped)
        if not predicted:
            reasons = "\n".join(f"  {item.file}: {item.reason}" for item in self.skipped[:20])
            raise UserError(f"no radar image could be predicted from the given paths:\n{reasons}")
        return predicted

    def _write(
        self, path: Path, image: TileImage | GeoTiffImage, place: Mapping[str, Any] | None, progress: bool
    ) -> None:
        month = image.month or self.options.month or 0
        biome = image.biome if image.biome >= 0 or self.options.biome is None else self.options.biome
        num_windows = count_windows(image.shape, self.window)
        hidden = not progress or num_windows <= MANY_WINDOWS
        with tqdm(total=num_windows, unit=" windows", leave=False, disable=hidden) as bar:
            strips = predict_strips(
                image, lambda radar: self.answer(radar, month, biome), self.window, after_window=bar.update
            )
            write_prediction(path, image.shape, strips, _facts(month, biome, image.place), place)


def predict_files(
    checkpoint: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    device: str | None = None,
    **options: Any,
) -> Iterator[str]:
    """Predicts images into a folder, and yields lines for the user: `partoken predict`.

    Arguments:
        checkpoint: as for `TilePredictor`.
        paths: as for `TilePredictor.write`.
        out: as for `TilePredictor.write`.
        device: as for `TilePredictor`.
        options: fields of `PredictOptions`.

    Raises:
        UserError: as for `TilePredictor` and `TilePredictor.write`; or an option of structures is given.
    """
    for name in ("residue_features", "max_file_mb", "explain", "importance"):
        if name in options:
            option = name.replace("_", "-")
            raise UserError(f"--{option}: {checkpoint} translates radar, which has no such option")
    predictor = TilePredictor(checkpoint, device, PredictOptions(**options))
    if predictor.saved.stage == 1 and (options.get("month") is not None or options.get("biome") is not None):
        yield f"{checkpoint} is of stage 1, which ignores --month and --biome"
    predicted = predictor.write(paths, out, progress=True)
    yield f"{predicted} images predicted, see {out}"
    if predictor.skipped:
        yield f"{len(predictor.skipped)} files skipped, see {Path(out) / SKIPPED}"


def _check_folder(out: Path, found: Found) -> None:
    """Checks that predictions can be written to a folder without replacing what is predicted."""
    is_file = not out.is_dir() if out.exists() else out.suffix in (".csv", ".npz", ".png", ".tif", ".tiff")
    if is_file:
        raise UserError(f"--out {out}: must be a folder, because a prediction of images has several files")
    written = {(out / f"{source.name}{suffix}").resolve() for source in found.sources for suffix in (".npz", ".tif")}
    for source in found.sources:
        for file in source.files:
            if file.resolve() in written:
                raise UserError(f"--out {out}: the prediction would replace {file}; choose another folder")
    if any(source.is_geotiff for source in found.sources):
        check_rasterio()


def _facts(month: int, biome: int, place: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the NPZ file says beside the bands, with the names of tiles."""
    facts: dict[str, Any] = {"s2_offset": 0}
    if month:
        facts["month"] = month
    if biome >= 0:
        facts["biome_code"] = biome
    if place.get("transform") is not None:
        facts["crs"] = "" if place["crs"] is None else str(place["crs"])
        facts["transform"] = np.array(tuple(place["transform"])[:6], dtype=float)
    return facts


def _has_rasterio() -> bool:
    try:
        check_rasterio()
    except UserError:
        return False
    return True
