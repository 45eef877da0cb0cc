"""The rows of the table in docs/formats.md: a smallest file of every layout, and what lorafold does with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.adapters.samples import normal

PEFT = "base_model.model.a.q_proj"
UNET = "unet.mid_block.attentions.0.proj_in"
SAME, PLAIN, REFUSED = "the same", "as plain LoRA", "refused"


@dataclass(frozen=True)
class Row:
    """One layout.

    Args:
        layout: what it is, as in the table.
        keys: names of tensors that tell it, as in the table.
        tensors: shapes of a file's tensors by key.
        form: the format that it is read as; None if it is refused.
        write: what becomes of it: the same tensors, plain LoRA of that format, or nothing.
        config: of adapter_config.json, or None where there is none.
        metadata: of the file.
        base: shape of the weight that is needed, by name.
        reason: what a refusal says.
    """

    layout: str
    keys: str
    tensors: Mapping[str, tuple[int, ...]]
    form: str | None = None
    write: str = SAME
    config: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    reason: str = ""

    def file(self) -> dict[str, Tensor]:
        """Its tensors; scalars are 1."""
        return {
            key: normal(*size, seed=i) if size else torch.tensor(1.0)
            for i, (key, size) in enumerate(self.tensors.items())
        }

    @property
    def read(self) -> str:
        if self.form is None:
            return REFUSED
        return "yes, with `base=`" if self.base else "yes"


def _kohya(layout: str, keys: str, tensors: Mapping[str, tuple[int, ...]], write: str = SAME, **more: Any) -> Row:
    return Row(layout, keys, {f"lora_unet_a.{key}": size for key, size in tensors.items()}, "kohya", write, **more)


def _peft(layout: str, keys: str, tensors: Mapping[str, tuple[int, ...]], write: str = SAME, **config: Any) -> Row:
    named = {f"{PEFT}.{key}" if key.startswith("lora") else key: size for key, size in tensors.items()}
    return Row(layout, keys, named, "peft", write, config)


def _refused(layout: str, keys: str, reason: str, tensors: Mapping[str, tuple[int, ...]], **more: Any) -> Row:
    return Row(layout, keys, tensors, None, "-", reason=reason, **more)


_PAIR = {"lora_down.weight": (2, 5), "lora_up.weight": (6, 2)}
_A_B = {"lora_A.weight": (2, 5), "lora_B.weight": (6, 2)}
_CONV = {"lora_down.weight": (2, 5, 3, 3), "lora_up.weight": (6, 2, 1, 1), "alpha": ()}
_LOHA = {"hada_w1_a": (6, 2), "hada_w1_b": (2, 5), "hada_w2_a": (6, 2), "hada_w2_b": (2, 5), "alpha": ()}
_SPLIT = {f"lora_{way}.{i}.weight": size for i in range(3) for way, size in (("down", (2, 5)), ("up", (4, 2)))}

ROWS = [
    _kohya("kohya, LoRA and LoCon", "`lora_unet_N.lora_down.weight`, `.alpha`", _CONV),
    _kohya("kohya, without alpha", "no `.alpha`: scale 1", _PAIR),
    _kohya(
        "kohya, Tucker LoCon",
        "`.lora_mid.weight`",
        _CONV | {"lora_mid.weight": (2, 2, 3, 3), "lora_down.weight": (2, 5, 1, 1)},
        PLAIN,
    ),
    _kohya("kohya, projections in parts", "`.lora_down.0.weight`", _SPLIT, PLAIN),
    _kohya("LyCORIS LoHa", "`.hada_w1_a`, `.hada_t1`", _LOHA, PLAIN),
    _kohya(
        "LyCORIS LoKr",
        "`.lokr_w1`, `.lokr_w2_a`",
        {"lokr_w1": (2, 1), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 5), "alpha": ()},
        PLAIN,
    ),
    _kohya("kohya, DoRA", "`.dora_scale`", _PAIR | {"dora_scale": (6, 1)}, PLAIN, base={"a.weight": (6, 5)}),
    _kohya("biases and norms beside factors", "`.diff_b`, `.w_norm`, `.b_norm`", _PAIR | {"diff_b": (6,)}),
    _kohya("Wan's modulations", "`.diff_m`", _PAIR | {"diff_m": (1, 6, 4)}),
    Row(
        "textual inversion beside LoRA",
        "`bundle_emb.NAME.string_to_param.*`",
        {f"lora_unet_a.{k}": s for k, s in _PAIR.items()} | {"bundle_emb.word.string_to_param.*": (2, 4)},
        "kohya",
    ),
    _kohya("whole differences", "`.diff`", {"diff": (6, 5)}, PLAIN),
    Row(
        "OneTrainer",
        "`lora_transformer_N.lora_down.weight`",
        {f"lora_transformer_x_embedder.{k}": s for k, s in _PAIR.items()},
        "kohya",
    ),
    Row(
        "LyCORIS wrapper, SimpleTuner",
        "`lycoris_N.lora_down.weight`",
        {f"lycoris_x_embedder.{k}": s for k, s in _PAIR.items()},
        "kohya",
    ),
    Row(
        "diffusers",
        "`unet.N.lora_A.weight`, `transformer.N...`",
        {f"{UNET}.{k}": s for k, s in _A_B.items()},
        "diffusers",
    ),
    Row(
        "diffusers, `lora_adapter_metadata`",
        "in the header",
        {f"{UNET}.{k}": s for k, s in _A_B.items()},
        "diffusers",
        metadata={"lora_adapter_metadata": '{"unet.r": 2, "unet.lora_alpha": 4}'},
    ),
    Row(
        "diffusers, alpha",
        "`unet.N.alpha`",
        {f"{UNET}.{k}": s for k, s in _A_B.items()} | {f"{UNET}.alpha": ()},
        "diffusers",
        PLAIN,
    ),
    Row(
        "diffusers of 2023",
        "`unet.N.lora.down.weight`",
        {f"{UNET}.lora.{w}.weight": s for w, s in (("down", (2, 5)), ("up", (6, 2)))},
        "diffusers",
        PLAIN,
    ),
    Row(
        "diffusers, attention processors",
        "`...attn1.processor.to_q_lora.down.weight`",
        {f"unet.mid_block.attn1.processor.to_q_lora.{w}.weight": s for w, s in (("down", (2, 5)), ("up", (6, 2)))},
        "diffusers",
        PLAIN,
    ),
    Row(
        "diffusers, older text encoders",
        "`text_encoder.N.lora_linear_layer.down.weight`",
        {f"text_encoder.text_model.a.lora_linear_layer.{w}.weight": s for w, s in (("down", (2, 5)), ("up", (6, 2)))},
        "diffusers",
        PLAIN,
    ),
    Row(
        "ComfyUI",
        "`diffusion_model.N.lora_A.weight`",
        {f"diffusion_model.a.{k}": s for k, s in _A_B.items()},
        "comfyui",
    ),
    Row(
        "ComfyUI, alpha",
        "`diffusion_model.N.alpha`",
        {f"diffusion_model.a.{k}": s for k, s in (_A_B | {"alpha": ()}).items()},
        "comfyui",
        PLAIN,
    ),
    Row(
        "ComfyUI, names with lora_down",
        "`diffusion_model.N.lora_down.weight`",
        {f"diffusion_model.a.{k}": s for k, s in _PAIR.items()},
        "kohya",
    ),
    _peft("PEFT", "`base_model.model.N.lora_A.weight`", _A_B),
    _peft(
        "PEFT, rsLoRA, rank_pattern, alpha_pattern",
        "in adapter_config.json",
        _A_B,
        use_rslora=True,
        r=4,
        rank_pattern={"q_proj": 2},
    ),
    _peft(
        "PEFT, convolutions",
        "`...lora_A.weight` of 3 to 5 axes",
        {"lora_A.weight": (2, 5, 3, 3), "lora_B.weight": (6, 2, 1, 1)},
    ),
    _peft(
        "PEFT, convolutions in groups",
        "`...lora_B.weight` of fewer columns",
        {"lora_A.weight": (4, 6, 3, 3), "lora_B.weight": (8, 2, 1, 1)},
        r=4,
    ),
    _peft("PEFT, embeddings", "`...lora_embedding_A`", {"lora_embedding_A": (2, 5), "lora_embedding_B": (6, 2)}),
    _peft("PEFT, `lora_bias`", "`...lora_B.bias`", _A_B | {"lora_B.bias": (6,)}, lora_bias=True),
    _peft(
        "PEFT, `modules_to_save`, `bias`",
        "whole weights",
        _A_B | {"base_model.model.head.weight": (3, 6)},
        modules_to_save=["head"],
    ),
    Row(
        "PEFT, DoRA",
        "`...lora_magnitude_vector`",
        {f"{PEFT}.{k}": s for k, s in (_A_B | {"lora_magnitude_vector": (6,)}).items()},
        "peft",
        PLAIN,
        {"use_dora": True},
        base={"a.q_proj.weight": (6, 5)},
    ),
    _peft(
        "PEFT, LoHa and LoKr",
        "`...lokr_w1`, `...hada_w1_a`",
        {f"{PEFT}.{part}": size for part, size in (("lokr_w1", (3, 5)), ("lokr_w2", (2, 1)))},
        PLAIN,
        peft_type="LOKR",
        alpha=4,
        r=2,
    ),
    _peft(
        "PEFT, experts as parameters",
        "`target_parameters`",
        {"lora_A.weight": (6, 5), "lora_B.weight": (4, 6)},
        target_parameters=["experts.w"],
    ),
    Row(
        "layers without anything in front",
        "`blocks.0.self_attn.q.lora_A.weight`",
        {"blocks.0.self_attn.q.lora_A.weight": (2, 5), "blocks.0.self_attn.q.lora_B.weight": (6, 2)},
        "comfyui",
    ),
    Row(
        "XLabs' Flux LoRA",
        "`double_blocks.0.processor.qkv_lora1.down.weight`",
        {f"double_blocks.0.processor.qkv_lora1.{w}.weight": s for w, s in (("down", (2, 5)), ("up", (6, 2)))},
        "diffusers",
        "as diffusers",
    ),
    Row(
        "MLX (mlx-lm)",
        "`model.layers.0.self_attn.q_proj.lora_a`",
        {"model.layers.0.self_attn.q_proj.lora_a": (5, 2), "model.layers.0.self_attn.q_proj.lora_b": (2, 6)},
        "mlx",
        config={"peft_type": None, "lora_parameters": {"rank": 2, "scale": 20.0}},
    ),
    Row(
        "MLX, DoRA",
        "`....m`",
        {f"model.layers.0.mlp.up_proj.{k}": s for k, s in (("lora_a", (5, 2)), ("lora_b", (2, 6)), ("m", (6,)))},
        "mlx",
        PLAIN,
        {"peft_type": None, "lora_parameters": {"rank": 2, "scale": 20.0}},
        base={"model.layers.0.mlp.up_proj.weight": (6, 5)},
    ),
    Row(
        "GGUF (llama.cpp)",
        "`blk.0.attn_q.weight.lora_a`",
        {"blk.0.attn_q.weight.lora_a": (2, 5), "blk.0.attn_q.weight.lora_b": (6, 2)},
        "gguf",
    ),
    Row(
        "torchtune",
        "`layers.0.attn.q_proj.lora_a.weight`",
        {"layers.0.attn.q_proj.lora_a.weight": (2, 5), "layers.0.attn.q_proj.lora_b.weight": (6, 2)},
        "torchtune",
        config={},
    ),
    _refused(
        "control LoRA of Flux",
        "`.norm.key_norm.scale`",
        "control LoRA",
        {"double_blocks.0.img_attn.proj.lora_A.weight": (2, 5), "double_blocks.0.img_attn.norm.key_norm.scale": (4,)},
    ),
    _refused(
        "DoRA in diffusers files",
        "`...lora_magnitude_vector`",
        "DoRA",
        {f"{UNET}.{k}": s for k, s in (_A_B | {"lora_magnitude_vector": (6,)}).items()},
    ),
    _refused("OFT, BOFT", "`.oft_blocks`", "OFT or BOFT", {"lora_unet_a.oft_blocks": (2, 3, 3)}),
    _refused(
        "GLoRA",
        "`.a1.weight`, `.b1.weight`",
        "GLoRA",
        {"lora_unet_a.a1.weight": (5, 2), "lora_unet_a.b1.weight": (6, 2)},
    ),
    _refused(
        "weights that replace the base model's",
        "`.set_weight`",
        "replaces that of the base",
        {"lora_unet_a.set_weight": (6, 5)},
    ),
    _refused("layers of another shape", "`.reshape_weight`", "changes the shape", {"lora_unet_a.reshape_weight": (2,)}),
    _refused("sparse biases", "`.bias_values`", "sparse bias", {"lora_unet_a.bias_values": (3,)}),
    _refused(
        "other PEFT methods",
        "`peft_type` not LORA, LOHA, LOKR",
        "expected 'LORA'",
        {f"{PEFT}.lora_A.weight": (2, 5)},
        config={"peft_type": "IA3"},
    ),
]
