"""The layers that trainers adapt, by their real names and shapes.

m = out, n = in (times the kernel's area for a convolution).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One adapted layer of a base model, named as in the adapter's file, without suffix."""

    name: str
    m: int
    n: int
    kernel: tuple[int, ...] = ()


def sd15() -> tuple[Layer, ...]:
    """Stable Diffusion 1.5 as sd-scripts adapts it: 192 U-Net layers by diffusers' names, 72 of CLIP-L."""
    blocks = [(f"down_blocks_{i}_attentions_{j}", width) for i, width in enumerate((320, 640, 1280)) for j in range(2)]
    blocks += [("mid_block_attentions_0", 1280)]
    blocks += [(f"up_blocks_{i}_attentions_{j}", w) for i, w in ((1, 1280), (2, 640), (3, 320)) for j in range(3)]
    unet = [layer for name, width in blocks for layer in _spatial(f"lora_unet_{name}", width, 1, 768, (1, 1))]
    return tuple(unet) + tuple(_clip("lora_te", 12, 768))


def sdxl() -> tuple[Layer, ...]:
    """Stable Diffusion XL as sd-scripts adapts it: 722 U-Net layers by sgm's names, 72 of CLIP-L, 192 of CLIP-bigG."""
    blocks = [(f"input_blocks_{i}_1", 640, 2) for i in (4, 5)]
    blocks += [(f"input_blocks_{i}_1", 1280, 10) for i in (7, 8)]
    blocks += [("middle_block_1", 1280, 10)]
    blocks += [(f"output_blocks_{i}_1", 1280, 10) for i in (0, 1, 2)]
    blocks += [(f"output_blocks_{i}_1", 640, 2) for i in (3, 4, 5)]
    unet = [layer for name, width, depth in blocks for layer in _spatial(f"lora_unet_{name}", width, depth, 2048, ())]
    return tuple(unet) + tuple(_clip("lora_te1", 12, 768)) + tuple(_clip("lora_te2", 32, 1280))


def flux() -> tuple[Layer, ...]:
    """FLUX.1 with its projections split, as OneTrainer and ai-toolkit adapt it: 494 layers, in kohya's notation."""
    stem = "lora_transformer"
    double = (layer for i in range(19) for layer in _flux_double(f"{stem}_transformer_blocks_{i}", 3072))
    single = (layer for i in range(38) for layer in _flux_single(f"{stem}_single_transformer_blocks_{i}", 3072))
    return (*double, *single)


def llama3_8b() -> tuple[Layer, ...]:
    """Every linear layer of the 32 blocks of Llama-3-8B, by transformers' names: 224."""
    attention = (("q_proj", 4096, 4096), ("k_proj", 1024, 4096), ("v_proj", 1024, 4096), ("o_proj", 4096, 4096))
    mlp = (("gate_proj", 14336, 4096), ("up_proj", 14336, 4096), ("down_proj", 4096, 14336))
    return tuple(
        Layer(f"model.layers.{i}.{part}.{name}", m, n)
        for i in range(32)
        for part, group in (("self_attn", attention), ("mlp", mlp))
        for name, m, n in group
    )


def uniform(count: int, m: int, n: int) -> tuple[Layer, ...]:
    """`count` equal linear layers: for questions about one size at a time."""
    return tuple(Layer(f"lora_unet_blocks_{i}", m, n) for i in range(count))


def _spatial(stem: str, width: int, depth: int, context: int, kernel: tuple[int, ...]) -> Iterator[Layer]:
    """A spatial transformer: `depth` blocks between two projections, which are 1 x 1 convolutions in SD 1.5."""
    yield Layer(f"{stem}_proj_in", width, width, kernel)
    for i in range(depth):
        block = f"{stem}_transformer_blocks_{i}"
        for attention, keys in (("attn1", width), ("attn2", context)):
            yield Layer(f"{block}_{attention}_to_q", width, width)
            yield Layer(f"{block}_{attention}_to_k", width, keys)
            yield Layer(f"{block}_{attention}_to_v", width, keys)
            yield Layer(f"{block}_{attention}_to_out_0", width, width)
        yield Layer(f"{block}_ff_net_0_proj", 8 * width, width)
        yield Layer(f"{block}_ff_net_2", width, 4 * width)
    yield Layer(f"{stem}_proj_out", width, width, kernel)


def _clip(stem: str, depth: int, width: int) -> Iterator[Layer]:
    for i in range(depth):
        block = f"{stem}_text_model_encoder_layers_{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield Layer(f"{block}_self_attn_{name}", width, width)
        yield Layer(f"{block}_mlp_fc1", 4 * width, width)
        yield Layer(f"{block}_mlp_fc2", width, 4 * width)


def _flux_double(block: str, width: int) -> Iterator[Layer]:
    """Image and text stream side by side."""
    for name in ("to_q", "to_k", "to_v", "to_out_0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
        yield Layer(f"{block}_attn_{name}", width, width)
    for stream in ("ff", "ff_context"):
        yield Layer(f"{block}_{stream}_net_0_proj", 4 * width, width)
        yield Layer(f"{block}_{stream}_net_2", width, 4 * width)
    for norm in ("norm1", "norm1_context"):
        yield Layer(f"{block}_{norm}_linear", 6 * width, width)


def _flux_single(block: str, width: int) -> Iterator[Layer]:
    """Both streams in one, attention and MLP in parallel."""
    for name in ("to_q", "to_k", "to_v"):
        yield Layer(f"{block}_attn_{name}", width, width)
    yield Layer(f"{block}_proj_mlp", 4 * width, width)
    yield Layer(f"{block}_proj_out", width, 5 * width)
    yield Layer(f"{block}_norm_linear", 3 * width, width)
