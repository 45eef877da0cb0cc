"""What sdist and wheel carry, and that an installed wheel runs away from the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

import lorafold
from lorafold.common.options import CONF

ROOT = Path(lorafold.__file__).parent.parent
NAME = f"lorafold-{lorafold.__version__}"
WheelBuilder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder
SdistBuilder = pytest.importorskip("hatchling.builders.sdist").SdistBuilder

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a checkout")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The sdist, as whoever builds from it has it."""
    place = tmp_path_factory.mktemp("sdist")
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(place), versions=["standard"])
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    return place / NAME


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    (built,) = WheelBuilder(str(unpacked)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_setting_file_is_in_it(names):
    assert {f"lorafold/conf/{path.relative_to(CONF).as_posix()}" for path in CONF.rglob("*.yaml")} <= names


def test_the_demo_pair_and_the_type_marker_are_in_it(names):
    files = ("adapter_config.json", "adapter_model.safetensors")
    demo = {f"lorafold/demo/{name}/{file}" for name in ("dnoun", "dmovie") for file in files}
    assert {*demo, "lorafold/py.typed"} <= names


def test_nothing_else_is_in_it(names):
    assert {name.partition("/")[0] for name in names} == {"lorafold", f"{NAME}.dist-info"}


def test_the_sdist_has_what_a_packager_and_a_reader_need(unpacked):
    pages = "README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE CITATION.cff pyproject.toml".split()
    names = [
        *pages,
        "docs/architecture.md",
        "examples/comfyui/__init__.py",
        "examples/study.ipynb",
        "tests/builders.py",
    ]
    assert not [name for name in names if not (unpacked / name).is_file()]
    assert not list(unpacked.rglob("__pycache__")) + list(unpacked.glob("outputs"))


def test_version_and_date_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    latest = re.search(r"(?m)^## (\d\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert latest.groups() == (lorafold.__version__, citation["date-released"])
    assert citation["version"] == lorafold.__version__


@pytest.mark.slow
def test_installed_it_runs_away_from_the_checkout(wheel, tmp_path):
    """In an environment of its own, whose other packages are those of this one."""
    venv.create(place := tmp_path / "venv", with_pip=False)
    scripts = place / ("Scripts" if sys.platform == "win32" else "bin")
    python = str(scripts / "python")
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words):
        process = subprocess.run(words, cwd=tmp_path, env=alone, capture_output=True, encoding="utf-8", check=False)
        assert process.returncode == 0, process.stderr
        return process.stdout

    pip = (sys.executable, "-m", "pip", "--quiet", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", str(wheel))
    (site,) = place.rglob("site-packages")
    (site / "others.pth").write_text(str(Path(torch.__file__).parents[1]))
    assert run(python, "-c", "import lorafold; print(lorafold.__file__)").startswith(str(site))
    assert run(str(scripts / "lorafold"), "--version").split()[-1] == lorafold.__version__
    assert "converged" in run(str(scripts / "lorafold"), "merge", "rank=4", "page=false", "output=both")
    assert (tmp_path / "both" / "README.md").exists()
