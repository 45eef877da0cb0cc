"""What a run writes down about itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from lorafold.runs.record import _git, environment, write_json, write_resolved


def test_json_has_no_nan_and_no_leftovers(tmp_path):
    content = {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (Path("x"), None)}, 3: True}
    write_json(tmp_path / "metrics.json", content)
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": ["x", None]}, "3": True}
    assert list(tmp_path.iterdir()) == [tmp_path / "metrics.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"run": 1})
    with pytest.raises(TypeError):
        write_json(path, {"run": object()})
    assert json.loads(path.read_text()) == {"run": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_resolved_settings_are_a_config_of_their_own(tmp_path):
    config = {"adapters": ["/a b/ü.safetensors"], "solver": {"name": "alternating", "tol": 1e-6}, "output": "/out"}
    write_resolved(tmp_path / "resolved.yaml", "merge", config)
    text = (tmp_path / "resolved.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {"defaults": ["merge_schema", "runtime", "_self_"], **config, "output": None}
    assert f"-cd {tmp_path} -cn resolved" in text
    assert "this run wrote /out" in text


def test_the_environment_is_plain_and_complete():
    content = environment(torch.device("cpu"))
    json.dumps(content, allow_nan=False)
    assert content["threads"] >= 1
    assert (content["device"], content["gpu"]) == ("cpu", None)
    assert all(content[package] for package in ("lorafold", "python", "torch", "geoopt", "safetensors"))


def test_a_checkout_is_clean_until_a_file_differs(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-m", "one")
    clean = _git(tmp_path)
    assert len(clean["sha"]) == 40 and clean["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert _git(tmp_path) == {**clean, "dirty": True}
    (tmp_path / "installed").mkdir()
    assert _git(tmp_path / "installed") is None  # what lies in a checkout need not be part of it
