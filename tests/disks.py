"""Disks that are full or read-only, for tests."""

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest


@contextlib.contextmanager
def room_for(size):
    """Lets no file of this process grow beyond a number of bytes, as on a full disk, whatever library writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def read_only_copy(source: Path, target: Path):
    """Copies a folder to one that nobody may write, not even root, who needs a file system of its own for that."""
    target.mkdir()
    mount = shutil.which("mount")
    is_root = os.geteuid() == 0
    if is_root and (not mount or subprocess.run([mount, "-t", "tmpfs", "tmpfs", target], check=False).returncode):
        pytest.skip("root may write everywhere, and may not mount a file system here")
    copy = target / source.name
    try:
        shutil.copytree(source, copy)
        if is_root:
            subprocess.run([mount, "-o", "remount,ro", target], check=True)
        else:
            copy.chmod(0o500)
        yield copy
    finally:
        if is_root:
            subprocess.run(["umount", target], check=True)
        else:
            copy.chmod(0o700)
