"""The pages of docs/extend: their code in an installed package and in files at hand, from Python and in a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

import lorafold
from lorafold.adapters import FORMATS
from lorafold.cli.config import explain, register
from lorafold.cli.plugins import with_homes
from lorafold.common.errors import LorafoldError
from lorafold.common.options import CONF
from tests.builders import demo
from tests.builders import one_thread as one_thread
from tests.oracles import updates

ROOT = Path(lorafold.__file__).parents[1]
PAGES = ROOT / "docs" / "extend"
pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason="not a checkout")
MODULES = {"rule": "damped", "distance": "mean_sine", "format": "plain"}
ENTRIES = """\
[lorafold.core_rules]
damped = my_package.damped
[lorafold.distances]
mean_sine = my_package.mean_sine
[lorafold.formats]
plain = my_package.plain
"""
QUICK = ("rank=2", "threads=1", "page=false")


def code(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of packages, as pip leaves one."""
    site = tmp_path_factory.mktemp("site")
    info = site / "my_package-1.0.dist-info"
    for folder in (site / "my_package", info):
        folder.mkdir()
    for page, module in MODULES.items():
        (site / "my_package" / f"{module}.py").write_text(code(page)[0], encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    return site


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the files of the pages."""
    for page, module in MODULES.items():
        (tmp_path / f"{module}.py").write_text(code(page)[0], encoding="utf-8")
    return tmp_path


def python(*arguments: str, cwd: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, filter(None, (ROOT, site))))
    environ = {**os.environ, "PYTHONPATH": path, "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )


def shell(*arguments: str, cwd: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-m", "lorafold", *arguments, cwd=cwd, site=site)


INSTALLED = """
import sys, lorafold
from lorafold.adapters import FORMATS, load
from lorafold.core_rules import CORE_RULES
from lorafold.objectives import DISTANCES

assert "damped" in CORE_RULES and [*CORE_RULES][-1] == "damped" and [*DISTANCES][-1] == "mean_sine"
try:
    lorafold.merge(["a", "b"], core="dampd")
except lorafold.LorafoldError as error:
    assert "damped, " in str(error) and str(error).endswith("Did you mean 'damped'?"), error
assert "my_package" not in sys.modules

from lorafold.runs.inputs import adapter_paths
pair = adapter_paths("demo", None)
merged = lorafold.merge(pair, rank=2, core={"name": "damped", "damping": 0.25}, objective="mean_sine")
assert all(module["converged"] for module in merged.metrics()["modules"])
plain = lorafold.convert(merged.adapter, format="plain").adapter
lorafold.save(plain, "merged.safetensors")
assert "my_package.plain" in sys.modules
"""
READING = """
import sys
from lorafold.adapters import load
assert "my_package" not in sys.modules
assert load("merged.safetensors").format == "plain" and "my_package.plain" in sys.modules
"""


@pytest.mark.slow
def test_an_installed_package_from_python(site, tmp_path):
    for script in (INSTALLED, READING):
        process = python("-c", script, cwd=tmp_path, site=site)
        assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_an_installed_package_in_a_shell(site, tmp_path):
    """A sweep, in other processes; options of a rule; a format."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ("core=damped,sum", "objective=mean_sine", "hydra/launcher=joblib", "hydra.sweep.dir=runs", "-m")
    process = shell("merge", *QUICK, *words, cwd=tmp_path, site=site)
    assert process.returncode == 0, process.stderr
    damped, plain = (yaml.safe_load((tmp_path / "runs" / str(i) / "resolved.yaml").read_text()) for i in (0, 1))
    assert damped["core"] == {"name": "damped", "damping": 0.5} and plain["core"] == {"name": "sum"}
    assert damped["objective"]["distance"] == "mean_sine"
    process = shell(
        "convert", "adapters=runs/0/merged", "format=plain", "output=p.safetensors", cwd=tmp_path, site=site
    )
    assert process.returncode == 0, process.stderr


def composed(*overrides: str):
    register("merge")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("merge", overrides=list(overrides))


def test_names_of_packages_are_among_those_to_choose_from(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(HydraException) as caught:
        composed("core=dampd")
    assert explain(caught.value).endswith("Did you mean 'damped'?")
    assert "damped, dare" in explain(caught.value) and "my_package" not in sys.modules


@pytest.mark.parametrize(
    "written", ["damped.py:damped", "./damped.py:damped", "{}/damped.py:damped", '"a (1)/damped.py:damped"']
)
def test_spellings_of_a_file_at_hand(at_hand, written):
    (at_hand / "a (1)").mkdir()
    shutil.copy(at_hand / "damped.py", at_hand / "a (1)")
    config = composed(f"core={written.format(at_hand)}", "core.damping=0.1")
    assert config.core.damping == 0.1 and Path(config.core.name).is_absolute()


def test_a_home_is_written_out():
    home = Path.home().as_posix()
    assert with_homes("core=~/a.py:b") == f"core={home}/a.py:b"
    assert with_homes("core=ties,~/a.py:b") == f"core=ties,{home}/a.py:b"
    for other in ("output=~/a.safetensors", "adapters=[~/a,b]", "core=x~/a.py:b", "core=ties"):
        assert with_homes(other) == other


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("core=none.py:x", "none.py: no such file"),
        ("core=damped.py:dampd", "damped.py registers no core rule 'dampd'"),
        ("core=bare.py:bare", "the option 'x' of bare has no default"),
        ("core=taken.py:ties", "taken.py: the core rule 'ties' of "),
    ],
)
def test_mistakes_in_a_file_at_hand(at_hand, override, words):
    head = "import lorafold\n@lorafold.core_rule('{0}')\ndef {0}(cores, weights, *, x{1}): ...\n"
    (at_hand / "bare.py").write_text(head.format("bare", ""))
    (at_hand / "taken.py").write_text(head.format("ties", "=1"))
    with pytest.raises(HydraException) as caught:
        composed(override)
    assert words in explain(caught.value) and "\n" not in explain(caught.value)


@pytest.mark.parametrize(
    ("core", "words"),
    [
        ({"name": "damped.py:damped", "dumping": 1}, "unknown option core.dumping.*Did you mean 'damping'"),
        ({"name": "damped.py:damped", "damping": "big"}, "damping='big', expected a number"),
        ("dampd", "unknown core 'dampd'"),
        ("odd.py:odd", "the option 'x' has the annotation list"),
    ],
)
def test_options_that_are_not_the_rules_own(at_hand, core, words):
    odd = "import lorafold\n@lorafold.core_rule('odd')\ndef odd(cores, weights, *, x: list = []): ...\n"
    (at_hand / "odd.py").write_text(odd)
    with pytest.raises(LorafoldError, match=words):
        lorafold.merge(demo(), core=core)


@pytest.mark.slow
def test_files_at_hand_in_a_shell_and_the_same_run_again_from_elsewhere(here, tmp_path_factory):
    words = ("core=damped.py:damped", "core.damping=0.25", "objective.distance=mean_sine.py:mean_sine")
    process = shell("merge", *QUICK, *words, "hydra.run.dir=run", cwd=here)
    assert process.returncode == 0, process.stderr
    settings = yaml.safe_load((here / "run" / "resolved.yaml").read_text())
    assert settings["core"] == {"name": f"{here.resolve() / 'damped.py'}:damped", "damping": 0.25}
    again = shell("reproduce", str(here / "run"), cwd=tmp_path_factory.mktemp("elsewhere"))
    assert again.returncode == 0 and "\nidentical: " in again.stdout, again.stderr
    record = json.loads((here / "run" / "metrics.json").read_text())
    assert record["summary"]["converged"] == record["summary"]["modules"]


@pytest.fixture
def at_hand(here, monkeypatch):
    """The files, run in this process, which forgets them afterwards."""
    from lorafold.core_rules import CORE_RULES
    from lorafold.objectives import DISTANCES

    for registry in (CORE_RULES, DISTANCES, FORMATS):
        for store in ("_entries", "_origins"):
            monkeypatch.setattr(registry, store, dict(getattr(registry, store)))
    monkeypatch.chdir(here)
    return here


def test_the_rule_is_its_formula(at_hand):
    damped = lorafold.merge(demo(), rank=2, weights="sum", core={"name": "damped.py:damped", "damping": 0.25})
    plain = updates(lorafold.merge(demo(), rank=2, weights="sum").adapter)
    for name, update in updates(damped.adapter).items():
        torch.testing.assert_close(update, 0.75 * plain[name], rtol=1e-5, atol=1e-7)


def test_the_distance_has_the_minimiser_of_phi(at_hand):
    """It is 1 - φ by another way: cosines instead of the overlaps' norm."""
    mine = lorafold.merge(demo(), rank=2, objective="mean_sine.py:mean_sine").metrics()["summary"]
    phi = lorafold.merge(demo(), rank=2, objective="phi").metrics()["summary"]
    assert mine["objective"] == pytest.approx(phi["objective"], rel=1e-6)


def test_the_check_of_the_derivative(at_hand):
    names: dict[str, object] = {"__name__": "page"}
    for block in code("distance"):
        exec(block, names)


def test_the_format_keeps_every_update(at_hand):
    (adapter, _) = demo()
    plain = lorafold.convert(adapter, format="plain.py:plain").adapter
    lorafold.save(plain, "plain.safetensors")
    read = lorafold.load("plain.safetensors")
    assert read.format == plain.format == "plain"
    for name, update in updates(adapter).items():
        torch.testing.assert_close(updates(read)[name], update)


def test_the_pipeline_in_small():
    names: dict[str, object] = {"__name__": __name__}
    exec(code("command")[0], names)
    assert names["count"](demo_path(), least=1).metrics() == {"summary": {"modules": 36}}


def demo_path() -> Path:
    return Path(lorafold.__file__).parent / "demo" / "dnoun"
