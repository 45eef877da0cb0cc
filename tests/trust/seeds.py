"""One small sound adapter per format, with everything in it that the format can hold: what the fuzzer damages."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.adapters.samples import PREFIX, kohya_pair, normal, peft_pair
from tests.trust.raw import Raw, raw

CONFIG = "adapter_config.json"


@dataclass
class Seed:
    """The tensors, and the configuration where the format has one beside them."""

    file: Raw
    config: Any = None

    def write(self, folder: Path) -> Path:
        """The path to hand to lorafold."""
        return write(folder, self.file.pack(), None if self.config is None else json.dumps(self.config).encode())


def write(folder: Path, tensors: bytes, config: bytes | None) -> Path:
    """A file, or with a configuration a folder."""
    if config is None:
        (folder / "a.safetensors").write_bytes(tensors)
        return folder / "a.safetensors"
    (folder / "a").mkdir(exist_ok=True)
    (folder / "a" / "adapter_model.safetensors").write_bytes(tensors)
    (folder / "a" / CONFIG).write_bytes(config)
    return folder / "a"


def _alpha(value: float) -> Tensor:
    return torch.tensor(value)


def _kohya() -> Seed:
    conv = {
        "lora_unet_c.lora_down.weight": normal(2, 2, 3, 3),
        "lora_unet_c.lora_up.weight": normal(4, 2, 1, 1, dtype=torch.float16),
    }
    tucker = {
        "lora_unet_t.lora_down.weight": normal(2, 3, 1, 1),
        "lora_unet_t.lora_mid.weight": normal(2, 2, 3, 3),
        "lora_unet_t.lora_up.weight": normal(4, 2, 1, 1),
    }
    parts = {
        f"lora_unet_qkv.lora_{way}.{i}.weight": normal(*shape, seed=i)
        for i in range(3)
        for way, shape in (("down", (2, 5)), ("up", (3, 2)))
    }
    rest = {"lora_unet_a.alpha": _alpha(1.0), "lora_unet_n.diff_b": normal(4), "lora_unet_d.diff": normal(3, 4)}
    training = {"ss_network_dim": "2", "ss_network_args": '{"conv_dim": 2}', "ss_tag_frequency": '{"x": {"cat": 2}}'}
    return Seed(raw({**kohya_pair(), **conv, **tucker, **parts, **rest}.items(), training))


def _lycoris() -> Seed:
    loha = {
        f"lora_unet_h.hada_w{i}_{side}": normal(*shape, seed=i)
        for i in (1, 2)
        for side, shape in (("a", (6, 2)), ("b", (2, 5)))
    }
    tucker = {
        f"lora_unet_ht.hada_{part}": normal(*shape)
        for part, shape in {
            "w1_a": (2, 6),
            "w1_b": (2, 5),
            "t1": (2, 2, 3, 3),
            "w2_a": (2, 6),
            "w2_b": (2, 5),
            "t2": (2, 2, 3, 3),
        }.items()
    }
    lokr = {
        f"lora_unet_k.lokr_{part}": normal(*shape)
        for part, shape in {"w1": (2, 3), "w2_a": (3, 1), "w2_b": (1, 4)}.items()
    }
    rest = {"lora_unet_h.alpha": _alpha(2.0), "lora_unet_k.alpha": _alpha(0.5)}
    return Seed(raw({**loha, **tucker, **lokr, **rest}.items()))


def _peft() -> Seed:
    names = ("block.q_proj", "block.v_proj")
    embedding = {f"{PREFIX}emb.lora_embedding_A": normal(2, 7), f"{PREFIX}emb.lora_embedding_B": normal(4, 2)}
    whole = {f"{PREFIX}head.weight": normal(2, 2)}
    config = {
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "emb"],
        "rank_pattern": {"block.v_proj": 2}, "alpha_pattern": {"emb": 1}, "use_rslora": False, "bias": "none",
        "modules_to_save": ["head"], "base_model_name_or_path": "someone/model", "use_dora": False,
    }  # fmt: skip
    pairs = {key: tensor for i, name in enumerate(names) for key, tensor in peft_pair(name, n=5 + i).items()}
    return Seed(raw({**pairs, **embedding, **whole}.items(), {"format": "pt"}), config)


def _diffusers() -> Seed:
    new = {f"unet.a.to_q.lora_{way}.weight": normal(*shape) for way, shape in (("A", (2, 5)), ("B", (6, 2)))}
    conv = {"unet.c.lora_A.weight": normal(2, 2, 3, 3), "unet.c.lora_B.weight": normal(4, 2, 1, 1)}
    old = {
        f"text_encoder.b.lora_linear_layer.{way}.weight": normal(*shape)
        for way, shape in (("down", (2, 5)), ("up", (6, 2)))
    }
    told = {"unet.r": 2, "unet.lora_alpha": 4, "unet.rank_pattern": {"a.to_q": 2}, "unet.target_modules": ["to_q"]}
    alpha = {"text_encoder.b.alpha": _alpha(3.0)}
    return Seed(raw({**new, **conv, **old, **alpha}.items(), {"lora_adapter_metadata": json.dumps(told)}))


def _comfyui() -> Seed:
    pair = {"diffusion_model.a.lora_A.weight": normal(2, 5), "diffusion_model.a.lora_B.weight": normal(6, 2)}
    return Seed(raw({**pair, "diffusion_model.a.alpha": _alpha(1.0), "diffusion_model.n.diff_b": normal(3)}.items()))


def _mlx() -> Seed:
    q, embedding, experts = (
        "model.layers.0.self_attn.q_proj",
        "model.embed_tokens",
        "model.layers.0.mlp.switch_mlp.up_proj",
    )
    tensors = {
        f"{q}.lora_a": normal(5, 2),
        f"{q}.lora_b": normal(2, 6, seed=1),
        f"{embedding}.lora_a": normal(9, 2),
        f"{embedding}.lora_b": normal(2, 5, seed=1),
        f"{experts}.lora_a": normal(3, 2, 5),
        f"{experts}.lora_b": normal(3, 4, 2, seed=1),
    }
    parameters = {"rank": 2, "scale": 20.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
    return Seed(raw(tensors.items(), {}), {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters})


BUILD: dict[str, Callable[[], Seed]] = {
    "kohya": _kohya, "lycoris": _lycoris, "peft": _peft, "diffusers": _diffusers, "comfyui": _comfyui,
    "mlx": _mlx,
}  # fmt: skip


@cache
def _built(form: str) -> Seed:
    return BUILD[form]()


def seed(form: str) -> Seed:
    """A copy, to be damaged."""
    return copy.deepcopy(_built(form))
