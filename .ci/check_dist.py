"""Checks what the wheel and the sdist contain, and prints their sizes.

python .ci/check_dist.py dist
"""

import sys
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
USED = {".ckpt", ".css", ".csv", ".js", ".npz", ".pt", ".py", ".txt", ".typed", ".yaml"}
"""Suffixes of the files that an installed package uses."""


def expected() -> dict[str, Path]:
    """Returns the files of the clone that a wheel has, by their name in the wheel."""
    package = {path.relative_to(ROOT): path for path in ROOT.glob("partoken/**/*")}
    conf = {Path("partoken", path.relative_to(ROOT)): path for path in ROOT.glob("conf/**/*")}
    files = {**package, **conf}
    return {name.as_posix(): path for name, path in files.items() if path.is_file() and path.suffix in USED}


def check_wheel(wheel: Path) -> list[str]:
    """Prints the size of each folder of a wheel; returns what is wrong with its contents."""
    sizes: dict[str, int] = defaultdict(int)
    files = expected()
    with zipfile.ZipFile(wheel) as archive:
        members = {item.filename: item for item in archive.infolist()}
        for name, item in members.items():
            sizes["/".join(PurePosixPath(name).parts[:2]) if name.count("/") > 1 else name.split("/")[0]] += (
                item.compress_size
            )
        own = {name for name in members if not name.split("/")[0].endswith(".dist-info")}
        wrong = [f"{wheel.name} has {name}, which no user needs" for name in sorted(own - files.keys())]
        wrong += [f"{wheel.name} lacks {name}" for name in sorted(files.keys() - own)]
        wrong += [
            f"{wheel.name}: {name} differs from {files[name].relative_to(ROOT)}"
            for name in sorted(own & files.keys())
            if archive.read(name) != files[name].read_bytes()
        ]
    print(f"{wheel.name}: {len(members)} files, {wheel.stat().st_size / 1000:.0f} kB")
    for folder, size in sorted(sizes.items(), key=lambda entry: -entry[1]):
        print(f"  {size / 1000:8.1f} kB  {folder}")
    return wrong


def check_sdist(sdist: Path) -> list[str]:
    """Prints the size of an sdist; returns what it lacks to build and test the package."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    print(f"{sdist.name}: {len(names)} files, {sdist.stat().st_size / 1000:.0f} kB")
    tests = [path.relative_to(ROOT) for path in ROOT.glob("tests/**/*.py")]
    needed = [*map(str, tests), "setup.py", "pyproject.toml", "constraints.txt", "conf/config_partoken.yaml"]
    return [f"{sdist.name} lacks {name}" for name in needed if name not in names]


def main(folder: Path) -> int:
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    wrong = [] if wheels and sdists else [f"{folder} lacks a wheel or an sdist: run make dist"]
    wrong += [fault for wheel in wheels for fault in check_wheel(wheel)]
    wrong += [fault for sdist in sdists for fault in check_sdist(sdist)]
    print("\n".join(f"error: {fault}" for fault in wrong), end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
