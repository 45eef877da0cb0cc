"""Models of transformers in miniature, with random weights, and adapters that PEFT itself made for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")


def _bert() -> nn.Module:
    config = transformers.BertConfig(
        hidden_size=8,
        intermediate_size=12,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=11,
        max_position_embeddings=16,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config)


def _llama() -> nn.Module:
    config = transformers.LlamaConfig(
        hidden_size=8,
        intermediate_size=12,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        vocab_size=11,
        max_position_embeddings=16,
    )
    return transformers.LlamaForCausalLM(config)


def _resnet() -> nn.Module:
    config = transformers.ResNetConfig(
        num_channels=3, embedding_size=6, hidden_sizes=[8, 12], depths=[1, 2], layer_type="bottleneck", num_labels=3
    )
    return transformers.ResNetForImageClassification(config)


_MODELS: dict[str, Callable[[], nn.Module]] = {"bert": _bert, "llama": _llama, "conv": _resnet}

# Two adapters of each, that differ in layers, ranks, alphas and scale rule.
CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bert": (
        {
            "target_modules": ["query", "value", "word_embeddings"],
            "r": 2,
            "lora_alpha": 4,
            "rank_pattern": {r"layer\.0.*query": 3},
        },
        {"target_modules": ["query", "key", "dense"], "r": 3, "lora_alpha": 2, "alpha_pattern": {"key": 5}},
    ),
    "llama": (
        {
            "target_modules": ["q_proj", "v_proj", "gate_proj"],
            "r": 2,
            "lora_alpha": 3,
            "rank_pattern": {"^model.layers.1.self_attn.q_proj": 4, "v_proj": 1},
            "alpha_pattern": {"gate_proj": 8, "v_proj": 1},
        },
        {"target_modules": r".*\.(q_proj|o_proj|embed_tokens)", "r": 4, "lora_alpha": 6, "use_rslora": True},
    ),
    "conv": (
        {"target_modules": ["convolution"], "r": 2, "lora_alpha": 4, "rank_pattern": {r"stages\.1.*": 3}},
        {"target_modules": ["convolution", "classifier.1"], "r": 3, "lora_alpha": 1, "use_rslora": True},
    ),
}


def base_model(kind: str) -> nn.Module:
    """The same weights at every call."""
    torch.manual_seed(0)
    return _MODELS[kind]().eval()


def peft_model(kind: str, configs: tuple[dict[str, Any], ...] = (), dtype: torch.dtype = torch.float32) -> Any:
    """A PeftModel with random adapters "first" and "second", all their factors in `dtype`."""
    model = None
    for name, config in zip(("first", "second"), configs or CONFIGS[kind], strict=True):
        lora = peft.LoraConfig(init_lora_weights=False, **config)
        if model is None:
            model = peft.get_peft_model(base_model(kind), lora, adapter_name=name)
        else:
            model.add_adapter(name, lora)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(dtype)
    return model.eval()


def saved(model: Any, folder: Path) -> list[Path]:
    """The folders of the two adapters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that it saves the embedding too
        model.save_pretrained(str(folder))
    return [folder / "first", folder / "second"]


def layers(model: Any) -> dict[str, nn.Module]:
    """The layers that can be adapted, by path in the base model."""
    base = model.base_model.model
    paths = dict(base.named_modules())
    return {path: layer for path, layer in paths.items() if "lora_" not in path and "base_layer" not in path}


def deltas(model: Any, adapter: str) -> dict[str, Tensor]:
    """ΔW (m, n) of every layer of an adapter, by PEFT's own account; n takes the kernel in."""
    found = {}
    for path, layer in layers(model).items():
        if hasattr(layer, "base_layer") and adapter in layer.scaling:
            delta = layer.get_delta_weight(adapter).detach().double()
            found[path] = delta.T if isinstance(layer.base_layer, nn.Embedding) else delta.flatten(1)
    return found


def weighted(model: Any, weights: list[float]) -> dict[str, Tensor]:
    """Σ weight_i ΔW_i of the two adapters."""
    total: dict[str, Tensor] = {}
    for name, weight in zip(("first", "second"), weights, strict=True):
        for path, delta in deltas(model, name).items():
            total[path] = total.get(path, torch.zeros_like(delta)) + weight * delta
    return total


def outputs(model: Any, kind: str) -> Tensor:
    """What the whole model computes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        if kind == "conv":
            return model(pixel_values=torch.randn(2, 3, 16, 16, generator=generator)).logits
        return model(input_ids=torch.randint(0, 11, (2, 7), generator=generator)).logits
