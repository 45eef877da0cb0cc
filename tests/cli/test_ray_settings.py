"""Which cluster a sweep goes to, with a stand-in for Ray, which need not be installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from lorafold.cli import ray_launcher
from lorafold.cli.ray_launcher import RayLauncher


@pytest.fixture
def ray(monkeypatch):
    """Records what is asked of it."""
    asked = []
    stand_in = SimpleNamespace(
        is_initialized=lambda: bool(stand_in.cluster),
        init=lambda **options: asked.append(options),
        remote=lambda run: SimpleNamespace(options=lambda **options: asked.append(options)),
        put=lambda state: state,
        shutdown=lambda: asked.append("shutdown"),
        cluster=None,
        asked=asked,
    )
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_launcher, "configure_log", lambda *_: None)
    return stand_in


def launch(folder, address=None):
    launcher = RayLauncher(address, 2, 0.5, 4)
    config = OmegaConf.create({"hydra": {"hydra_logging": None, "verbose": False, "sweep": {"dir": str(folder)}}})
    launcher.setup(hydra_context=None, task_function=None, config=config)
    return launcher.launch([], 0)


@pytest.mark.parametrize("place", ["setting", "environment", "none"])
def test_the_cluster_is_the_given_one_or_one_of_its_own(place, ray, tmp_path, monkeypatch):
    if place == "environment":
        monkeypatch.setenv("RAY_ADDRESS", "far:1")
    launch(tmp_path / "sweep", "far:1" if place == "setting" else None)
    cluster, resources, end = ray.asked
    own = {"address": "local", "num_cpus": 4, "include_dashboard": False}
    assert {key: cluster[key] for key in own.keys() & cluster.keys()} == (
        own if place == "none" else {"address": "far:1"}
    )
    assert cluster["log_to_driver"] is False
    assert resources == {"num_cpus": 2, "num_gpus": 0.5, "max_retries": 0}
    assert end == "shutdown" and (tmp_path / "sweep").is_dir()


def test_a_cluster_that_this_process_uses_already_stays(ray, tmp_path):
    ray.cluster = "here"
    launch(tmp_path)
    assert len(ray.asked) == 1  # the resources


def test_no_cluster_is_a_mistake_in_one_line(ray, tmp_path):
    def refuse(**_):
        raise ConnectionError("a long story")

    ray.init = refuse
    with pytest.raises(CompactHydraException, match=r"^no Ray cluster, or RAY_AUTH_MODE"):
        launch(tmp_path, "auto")


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CompactHydraException, match=r"Run pip install 'lorafold\[ray\]'"):
        launch(tmp_path)
