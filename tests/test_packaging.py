"""What a wheel carries."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import lorafold
from lorafold.common.options import CONF

ROOT = Path(lorafold.__file__).parent.parent
WheelBuilder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a checkout")


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_setting_file_is_in_it(names):
    assert {f"lorafold/conf/{path.relative_to(CONF).as_posix()}" for path in CONF.rglob("*.yaml")} <= names


def test_the_demo_pair_and_the_type_marker_are_in_it(names):
    files = ("adapter_config.json", "adapter_model.safetensors")
    demo = {f"lorafold/demo/{name}/{file}" for name in ("dnoun", "dmovie") for file in files}
    assert {*demo, "lorafold/py.typed"} <= names


def test_nothing_else_is_in_it(names):
    assert {name.partition("/")[0] for name in names} == {"lorafold", f"lorafold-{lorafold.__version__}.dist-info"}
