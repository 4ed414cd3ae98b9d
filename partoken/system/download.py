"""Downloads one large file: progress, resume, checksum."""

import contextlib
import hashlib
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

__all__ = ["download"]

BLOCK = 1 << 20
"""Bytes read at a time."""
TIMEOUT = 30
"""Seconds without an answer after which a connection fails."""


def download(url: str, target: Path, listing: str | None = None) -> None:
    """Downloads a file into `TARGET.partial` and renames it to `target` when it is complete.

    Resumes a partial download. If the complete file has the wrong checksum, downloads it once more from the start.
    Shows a progress bar on a terminal.

    Arguments:
        url: address of the file.
        target: path of the complete file; missing folders are created.
        listing: address of a JSON description, `{"files": [{"key", "size", "checksum": "md5:..."}]}`. The file must
            have the checksum that the entry with its name gives. None checks only the length.

    Raises:
        OSError: no connection, no such file, a broken connection, or a wrong checksum.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    expected = _expected_checksum(listing, target.name) if listing else None
    partial = target.with_name(target.name + ".partial")
    actual = None
    for _attempt in (1, 2):
        _fetch(url, partial)
        actual = _md5(partial)
        if expected is None or actual == expected:
            os.replace(partial, target)
            return
        # The partial file may have begun with bytes of another version.
        partial.unlink()
    raise OSError(f"{url} has the checksum {actual}, but {listing} gives {expected}")


def _expected_checksum(listing: str, name: str) -> str | None:
    with urllib.request.urlopen(listing, timeout=TIMEOUT) as answer:
        files = json.load(answer)["files"]
    checksum: str = next((file["checksum"] for file in files if file["key"] == name), "")
    return checksum.removeprefix("md5:") or None


def _fetch(url: str, partial: Path) -> None:
    """Appends the missing bytes to the partial file; starts again if the server cannot resume."""
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # Range Not Satisfiable: the file is complete
            return
        raise OSError(f"{url}: {error.code} {error.reason}") from None
    with contextlib.closing(answer):
        if answer.status != 206:  # Partial Content
            start = 0
        _append(answer, url, partial, start)


def _append(answer: Any, url: str, partial: Path, start: int) -> None:
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    bar = tqdm(
        desc=f"downloading {partial.stem}",
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        disable=None,
    )
    with bar, open(partial, "ab" if start else "wb") as file:
        while block := answer.read(BLOCK):
            file.write(block)
            bar.update(len(block))
        if total is not None and file.tell() != total:
            raise OSError(f"{url} broke off after {file.tell()} of {total} bytes; the next download resumes there")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
