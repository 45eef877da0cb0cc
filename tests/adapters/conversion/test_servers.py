"""What vLLM loads: its published rules, written down again, and updates that stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lorafold.adapters import Adapter, Module, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.convert.pipeline import convert
from lorafold.pipelines.inspect.pipeline import inspect
from tests.adapters.samples import PREFIX, normal, update

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"


def adapter(**parts: Any) -> Adapter:
    """Two modules of different ranks and scales."""
    modules = {
        Q: Module(Q, normal(6, 4), normal(4, 5), 0.5),
        V: Module(V, normal(6, 2, seed=1), normal(2, 5, seed=1), 3.0),
    }
    return replace(Adapter("peft", modules, config={"target_modules": ["q_proj", "v_proj"]}, path=Path("x")), **parts)


def loaded_by_vllm(folder: Path, max_lora_rank: int = 16) -> dict[str, torch.Tensor]:
    """Updates as vLLM computes them, after its checks (`PEFTHelper`, `LoRAModel.from_local_checkpoint`)."""
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] <= max_lora_rank and config["bias"] == "none"
    assert not config["use_dora"] and config["modules_to_save"] is None
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
    tensors = load_file(folder / "adapter_model.safetensors")
    updates = {}
    for key in tensors:
        name = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        assert key == f"{PREFIX}{name}.lora_A.weight" or key.endswith(".lora_B.weight")
        if key.endswith(".lora_A.weight"):
            assert name.rpartition(".")[2] in config["target_modules"] and tensors[key].shape[0] == config["r"]
            updates[name] = scale * tensors[f"{PREFIX}{name}.lora_B.weight"].double() @ tensors[key].double()
    return updates


def test_vllm_computes_the_same_updates(tmp_path: Path) -> None:
    before = adapter()
    folder = save(convert(before, target="vllm").adapter, tmp_path / "served")
    served = loaded_by_vllm(folder)
    assert served.keys() == before.modules.keys()
    for name, module in before.modules.items():
        torch.testing.assert_close(served[name], update(module), rtol=1e-6, atol=1e-7)


def test_inspect_says_what_vllm_would_ignore(tmp_path: Path) -> None:
    path = save(adapter(), tmp_path / "mixed")
    assert any("target=vllm" in line for line in inspect(path).metrics()["warnings"])
    served = save(convert(path, target="vllm").adapter, tmp_path / "served")
    assert not any("vLLM" in line for line in inspect(served).metrics()["warnings"])


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"config": {"modules_to_save": ["score"]}}, "modules_to_save: .*, which vLLM does not load"),
        ({"extras": {f"{PREFIX}x.bias": normal(3)}}, "a whole weight or bias"),
        ({"modules": {Q: Module(Q, normal(6, 4), normal(4, 5), 1.0, bias=normal(6))}}, "a LoRA bias"),
        ({"modules": {Q: Module(Q, normal(6, 4), normal(4, 5), 1.0, kind="embedding")}}, "kind embedding"),
        ({"modules": {Q: Module(Q, normal(600, 513), normal(513, 600), 1.0)}}, "rank 513, and vLLM takes at most 512"),
    ],
)
def test_what_vllm_has_no_place_for_is_refused(parts: dict[str, Any], problem: str) -> None:
    with pytest.raises(LorafoldError, match=problem):
        convert(adapter(**parts), target="vllm")


@pytest.mark.parametrize("settings", [{"target": "tgi"}, {"target": "vllm", "format": "kohya"}])
def test_an_unknown_target_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(LorafoldError, match="expected target=vllm or mlx or gguf alone"):
        convert(adapter(), **settings)
