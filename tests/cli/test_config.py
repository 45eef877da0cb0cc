"""conf/*.yaml against the dataclasses: what is a setting, and that no default has two homes."""

from __future__ import annotations

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException

from lorafold.cli.config import explain, read, register
from lorafold.commands import COMMANDS
from lorafold.commands.merge.config import MergeConfig
from lorafold.common.errors import LorafoldError
from lorafold.common.options import CONF, choice
from lorafold.pipelines.merge.settings import MergeSettings

GROUPS = ("objective", "manifold", "solver", "core")


def composed(*overrides):
    register("merge")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("merge", overrides=list(overrides))


def test_the_settings_of_a_merge():
    """Scripts depend on these names: a new one is added here on purpose, and none goes away by accident."""
    assert set(composed()) == {
        *(
            "adapters",
            "weights",
            "module_weights",
            "block_weights",
            "layers",
            "exclude",
            "residual",
            "balance",
            "truncate",
            "rank",
            "core_rank",
        ),
        *("calibration", "ridge"),
        *("objective", "subspace_weight", "reconstruction_weight"),
        *(
            "manifold",
            "solver",
            "core",
            "scale",
            "base",
            "input_rank",
            "allow_different_bases",
            "device",
            "dtype",
            "output",
            "page",
            "path",
            "evaluator",
            "evaluator_inputs",
            "evaluator_model",
            "score",
            "tracker",
            "resume",
            "overwrite",
            "seed",
            "threads",
        ),
    }


def test_the_command_and_the_library_have_the_same_defaults():
    settings = read(composed(), MergeConfig).settings()
    expected = MergeSettings()
    for name in MergeSettings.__dataclass_fields__:
        value = getattr(expected, name)
        assert getattr(settings, name) == (choice(name, value) if name in GROUPS and value else value)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_yaml_of_a_command_sets_no_value_of_its_own(name):
    assert set(yaml.safe_load((CONF / f"{name}.yaml").read_text())) == {"defaults"}


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("rank=max", "rank", "max"),
        ("rank=8", "rank", 8),
        ("adapters=[a.safetensors,dir/b c]", "adapters", ["a.safetensors", "dir/b c"]),
        ('adapters=["x (1)=y.safetensors",b]', "adapters", ["x (1)=y.safetensors", "b"]),
        ("weights=[0.7,-1]", "weights", [0.7, -1]),
        ("threads=2", "threads", 2),
        ("output=out.safetensors", "output", "out.safetensors"),
        ("scale=2", "scale", 2),
        ("scale=each", "scale", "each"),
        ("weights=sum", "weights", "sum"),
        ("truncate=[8,null]", "truncate", [8, None]),
        (r"module_weights={layer\.\[0-3\]: [1,0]}", "module_weights", {r"layer\.[0-3]": [1, 0]}),
        (r"module_weights={\d+$: [1,0], up|mid: [0.5,1]}", "module_weights", {r"\d+$": [1, 0], "up|mid": [0.5, 1]}),
        ("block_weights=[null,OUTALL]", "block_weights", [None, "OUTALL"]),
        ("block_weights={OUT0.: 0.5}", "block_weights", {"OUT0.": 0.5}),
        ("solver=alternating", "solver", choice("solver", "alternating")),
        ("solver.tol=1e-4", "solver", {**choice("solver", "riemannian_adam"), "tol": 1e-4}),
    ],
)
def test_overrides_arrive_as_values(override, name, value):
    result = getattr(read(composed(override), MergeConfig), name)
    assert result == value and type(result) is type(value)


def test_the_config_can_be_built_by_hand():
    assert MergeConfig(rank=4).settings() == MergeSettings(rank=4)


def test_a_choice_of_a_package_that_is_not_there_is_told_with_what_installs_it():
    missing = MissingConfigException("", "hydra/launcher/joblib", ["basic", "ray"])
    assert explain(missing).endswith("Run pip install 'lorafold[joblib]'")


def test_another_commands_config_is_refused():
    with pytest.raises(LorafoldError, match="unknown setting 'pairs'"):
        read(composed("+pairs=3"), MergeConfig)
