"""Registries: whose names there are, and what is said of code that does not give what it is to give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lorafold.common.errors import LorafoldError
from lorafold.common.registry import Registry, installed, located

GROUP = "lorafold.things_of_a_test"


def thing(registry, name):
    """The decorator of a registry of functions."""
    return lambda function: registry.add(name, function, function)


@pytest.fixture
def things():
    registry = Registry("thing", GROUP)
    thing(registry, "ours")(ours)
    return registry


def ours():
    return 1


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Makes packages: module by module, and what they announce."""

    def install(package: str, entries: dict[str, str], **modules: str) -> None:
        (tmp_path / package).mkdir()
        for name, text in modules.items():
            (tmp_path / package / f"{name}.py").write_text(text)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {module}" for name, module in entries.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n")

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


def test_the_same_function_again_replaces_its_entry_and_another_is_refused(things):
    thing(things, "ours")(ours)

    def other():
        return 2

    with pytest.raises(LorafoldError, match=r"the thing 'ours' of .*other has the name of .*ours.*another name"):
        thing(things, "ours")(other)
    assert things["ours"] is ours and len(things) == 1


def test_an_unknown_name_is_named_with_the_known_ones(things):
    with pytest.raises(LorafoldError, match=r"^unknown thing 'oars'\. Choose one of ours\. Did you mean 'ours'\?$"):
        things["oars"]
    assert "oars" not in things and 3 not in things


def test_packages_are_listed_but_not_imported_until_they_are_asked(site, monkeypatch):
    site("pack_a", {"zeta": "pack_a.zeta"}, zeta="import sys\nsys.things_of_a_test.add('zeta', 7, object)")
    site("pack_b", {"beta": "pack_b.absent", "alpha": "pack_b.empty"}, empty="")
    registry = Registry("thing", GROUP)
    monkeypatch.setattr(sys, "things_of_a_test", registry, raising=False)
    assert [*registry] == ["alpha", "beta", "zeta"] == [*installed(GROUP)]
    assert not {"pack_a", "pack_b"} & set(sys.modules)
    assert registry["zeta"] == 7
    with pytest.raises(LorafoldError, match=r"^pack_b\.absent of the package pack_b: cannot be imported \(ModuleNot"):
        registry["beta"]
    with pytest.raises(LorafoldError, match=r"^pack_b\.empty of the package pack_b registers no thing 'alpha'"):
        registry["alpha"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"mine\.py: no such file\. Write path/to/file\.py:name\.$"),
        ("", r"mine\.py registers no thing 'mine'"),
        ("x = 1\nraise KeyError('no')\n", r"mine\.py, line 2: cannot be imported \(KeyError: 'no'\)$"),
        ("def x(:\n", r"mine\.py: cannot be imported \(SyntaxError: .*line 1\)\)$"),
        ("import sys\nsys.exit(3)\n", r"mine\.py, line 2: cannot be imported \(SystemExit: 3\)$"),
        ("from lorafold.common.errors import LorafoldError as E\nraise E('taken')\n", r"mine\.py: taken$"),
    ],
)
def test_a_file_at_hand_that_gives_nothing(things, tmp_path, text, message):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(LorafoldError, match=message) as caught:
        things[f"{tmp_path / 'mine.py'}:mine"]
    assert "\n" not in str(caught.value)


def test_a_file_is_run_once(things, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "things_of_a_test", things, raising=False)
    path = tmp_path / "a file (1).py"
    path.write_text(
        "import sys\nfrom dataclasses import dataclass\n\n@dataclass\nclass Mine:\n    x: 'int' = 1\n\n"
        "things = sys.things_of_a_test\nthings.add('one', Mine(), Mine)\nthings.add('two', Mine(), Mine)\n"
    )
    monkeypatch.chdir(tmp_path)
    one = things["a file (1).py:one"]
    assert things[f"{path}:one"] is one and things["one"] is one and things[f"{path}:two"] == one
    assert f"{path}:one" in things and f"{path}:one" not in [*things]


@pytest.mark.parametrize("name", ["ties", "a.py", "a.txt:b", ":b", "a.py:", 3, None, "a.py:b:c d"])
def test_other_names_stay_as_they_are(name):
    assert located(name) == name


def test_a_file_at_hand_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    full = f"{tmp_path.resolve() / 'a.py'}:b"
    assert located("a.py:b") == located("./a.py:b") == located(full) == full
    if sys.platform != "win32":
        assert located("~/a.py:b") == full
    assert Path(full.rpartition(":")[0]).is_absolute()


def test_neither_torch_nor_hydra_is_imported():
    check = "import lorafold.common.registry, sys; sys.exit(bool({'torch', 'hydra', 'omegaconf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
