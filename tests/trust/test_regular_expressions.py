"""Regular expressions of strangers that would take forever: refused, in every place that can hold one.

If one were tried, its test would not end.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lorafold
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import kohya_file, kohya_pair, normal, peft_folder, peft_pair
from tests.builders import one_thread as one_thread
from tests.trust.refusing import refusal

BOMBS = ["(a+)+$", "(a|a)*b", "(a|aa){9,}b", ".*.*.*.*.*.*.*.*x", "(?:a?){40}a{40}", "(a|a)" * 40 + "b", "(" * 5000,
         "a{99999999999}", "((((a{1,9}){1,9}){1,9}){1,9}){1,9}b", "(?=(a+)+$)b"]  # fmt: skip
LONG = "a" * 60


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:12])
@pytest.mark.parametrize("setting", ["rank_pattern", "alpha_pattern"])
def test_regular_expressions_that_take_forever(tmp_path: Path, bomb: str, setting: str) -> None:
    folder = peft_folder(tmp_path / "a", peft_pair(LONG), **{setting: {bomb: 2}})
    error = refusal(folder)
    assert error.path == folder / "adapter_config.json" and error.key == setting and "forever" in str(error)


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:12])
def test_the_same_in_a_diffusers_file(tmp_path: Path, bomb: str) -> None:
    tensors = {f"unet.{LONG}.lora_{way}.weight": normal(*shape) for way, shape in (("A", (2, 5)), ("B", (6, 2)))}
    told = json.dumps({"unet.r": 2, "unet.rank_pattern": {bomb: 2}})
    path = kohya_file(tmp_path / "a.safetensors", tensors, {"lora_adapter_metadata": told})
    error = refusal(path)
    assert error.path == path and error.key == "rank_pattern"


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:12])
def test_the_same_in_the_users_own_weights(tmp_path: Path, bomb: str) -> None:
    path = kohya_file(tmp_path / "a.safetensors", kohya_pair(f"lora_unet_{LONG}"))
    with pytest.raises(LorafoldError, match=r"^module_weights\['"):
        lorafold.merge([path], rank=2, module_weights={bomb: [1.0]})


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:12])
@pytest.mark.parametrize("setting", ["target_modules", "exclude_modules"])
def test_targets_that_take_forever_become_a_list(tmp_path: Path, bomb: str, setting: str) -> None:
    """What a merge needs of these it can write down without them."""
    folder = peft_folder(tmp_path / "a", peft_pair(LONG), **{setting: bomb})
    written = lorafold.save(lorafold.merge([folder], rank=2).adapter, tmp_path / "out")
    config = json.loads((written / "adapter_config.json").read_text())
    assert config["target_modules"] == [LONG] and not config.get("exclude_modules")
