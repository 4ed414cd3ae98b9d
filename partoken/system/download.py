"""One large file from the network: progress, resume, checksum."""

import contextlib
import hashlib
import json
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

__all__ = ["download"]

BLOCK = 1 << 20
TIMEOUT = 30


def download(url: str, target: Path, listing: str | None = None) -> None:
    """Downloads a file beside its final name and renames it when it is whole.

    What a broken download left is gone on with. A progress bar is shown on a terminal.

    Arguments:
        url: where the file is.
        target: what it becomes.
        listing: address of the record's description as JSON, {"files": [{"key", "size", "checksum": "md5:..."}]}; the
            file must agree with it. None checks the length only.

    Raises:
        OSError: no connection, no such file, or a file that does not agree with the listing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    checksum = _expected(listing, target.name) if listing else None
    partial = target.with_name(target.name + ".partial")
    for _attempt in (1, 2):
        _fetch(url, partial)
        found = _md5(partial)
        if checksum is None or found == checksum:
            os.replace(partial, target)
            return
        partial.unlink()  # perhaps the beginning was of another version: once more from the start
    raise OSError(f"{url} has the checksum {found}, expected {checksum}")


def _expected(listing: str, name: str) -> str | None:
    with urllib.request.urlopen(listing, timeout=TIMEOUT) as answer:
        files = json.load(answer)["files"]
    checksum = next((file["checksum"] for file in files if file["key"] == name), "")
    return checksum.removeprefix("md5:") or None


def _fetch(url: str, partial: Path) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing is left to fetch
            return
        raise OSError(f"{url}: {error.code} {error.reason}") from None
    with contextlib.closing(answer):
        if answer.status != 206:
            start = 0  # the server does not resume
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar = tqdm(
            desc=f"downloading {partial.stem}", total=total, initial=start, unit="B", unit_scale=True, disable=None
        )
        with bar, open(partial, "ab" if start else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            if total is not None and file.tell() != total:
                raise OSError(f"{url} broke off after {file.tell()} of {total} bytes; the next try goes on from there")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
