"""Pipelines of diffusers in miniature: every kind of layer of the real models, random weights, nothing downloaded."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")


def _text(projection: bool = False) -> Any:
    """A CLIP text encoder."""
    config = transformers.CLIPTextConfig(
        hidden_size=8,
        intermediate_size=12,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=10,
        projection_dim=8,
        bos_token_id=0,
        eos_token_id=1,
    )
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def _sd() -> Any:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 4, 4, 4), norm_num_groups=2, cross_attention_dim=8, attention_head_dim=2
    )
    return diffusers.StableDiffusionPipeline(
        vae=None,
        text_encoder=_text(),
        tokenizer=None,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 4, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        norm_num_groups=2,
        cross_attention_dim=16,
        attention_head_dim=2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=2,
        projection_class_embeddings_input_dim=20,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=None,
        text_encoder=_text(),
        text_encoder_2=_text(projection=True),
        tokenizer=None,
        tokenizer_2=None,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(),
    )


def _flux() -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=8,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=None,
        text_encoder=_text(),
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )


def _sd3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        num_layers=3,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=8,
        pooled_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=4,
        dual_attention_layers=(0,),
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=None,
        text_encoder=_text(projection=True),
        tokenizer=None,
        text_encoder_2=_text(projection=True),
        tokenizer_2=None,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def _wan() -> Any:
    """Image to video, which has all layers of text to video and two more per block."""
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        freq_dim=16,
        ffn_dim=20,
        num_layers=2,
        image_dim=10,
        added_kv_proj_dim=24,
        rope_max_seq_len=8,
    )
    return diffusers.WanImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=None,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        image_processor=None,
        image_encoder=None,
        transformer=transformer,
    )


_BLOCKS = {"attention_head_dim": 8, "num_attention_heads": 2, "num_layers": 2}
_TEXT = {"joint_attention_dim": 12}
# Pipelines, transformers and their sizes, where the transformer alone takes a LoRA.
_TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "flux2": (
        "Flux2Pipeline",
        "Flux2Transformer2DModel",
        _BLOCKS | _TEXT | {"in_channels": 4, "num_single_layers": 2, "timestep_guidance_channels": 8}
        | {"axes_dims_rope": (2, 2, 2, 2)},
    ),
    "chroma": (
        "ChromaPipeline",
        "ChromaTransformer2DModel",
        _BLOCKS | _TEXT | {"in_channels": 4, "num_single_layers": 2, "axes_dims_rope": (2, 2, 4)}
        | {"approximator_num_channels": 8, "approximator_hidden_dim": 8, "approximator_layers": 2},
    ),
    "qwen": (
        "QwenImagePipeline",
        "QwenImageTransformer2DModel",
        _BLOCKS | _TEXT | {"in_channels": 4, "out_channels": 4, "axes_dims_rope": (2, 2, 4)},
    ),
    "zimage": (
        "ZImagePipeline",
        "ZImageTransformer2DModel",
        {"in_channels": 4, "dim": 16, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2}
        | {"cap_feat_dim": 12, "axes_dims": [2, 2, 4], "axes_lens": [8, 8, 8]},
    ),
    "lumina2": (
        "Lumina2Pipeline",
        "Lumina2Transformer2DModel",
        {"sample_size": 4, "in_channels": 4, "hidden_size": 24, "num_layers": 2, "num_refiner_layers": 1}
        | {"num_attention_heads": 3, "num_kv_heads": 1, "cap_feat_dim": 12, "multiple_of": 8}
        | {"axes_dim_rope": (2, 2, 4), "axes_lens": (8, 8, 8)},
    ),
    "auraflow": (
        "AuraFlowPipeline",
        "AuraFlowTransformer2DModel",
        _TEXT | {"sample_size": 4, "in_channels": 4, "out_channels": 4, "attention_head_dim": 8}
        | {"num_attention_heads": 2}
        | {"num_mmdit_layers": 2, "num_single_dit_layers": 2, "caption_projection_dim": 16, "pos_embed_max_size": 16},
    ),
    "ltx": (
        "LTXPipeline",
        "LTXVideoTransformer3DModel",
        _BLOCKS | {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 16, "caption_channels": 12},
    ),
    "hidream": (
        "HiDreamImagePipeline",
        "HiDreamImageTransformer2DModel",
        _BLOCKS | {"patch_size": 2, "in_channels": 4, "num_single_layers": 2, "caption_channels": [12, 12]}
        | {"text_emb_dim": 8, "axes_dims_rope": (4, 2, 2), "max_resolution": (8, 8), "llama_layers": [0, 1]}
        | {"num_routed_experts": 2},
    ),
    "hunyuan": (
        "HunyuanVideoPipeline",
        "HunyuanVideoTransformer3DModel",
        _BLOCKS | {"in_channels": 4, "out_channels": 4, "num_single_layers": 2, "num_refiner_layers": 1}
        | {"text_embed_dim": 12, "pooled_projection_dim": 8, "rope_axes_dim": (2, 2, 4)},
    ),
}  # fmt: skip


def _of_transformer(pipe: str, model: str, sizes: dict[str, Any]) -> Any:
    """A pipeline with nothing but a transformer."""
    kind = getattr(diffusers, pipe)
    needed = [name for name, p in inspect.signature(kind).parameters.items() if p.default is inspect.Parameter.empty]
    parts = {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "transformer": getattr(diffusers, model)(**sizes),
    }
    return kind(**(dict.fromkeys(needed) | parts))


_PIPELINES: dict[str, Callable[[], Any]] = {
    "sd": _sd,
    "sdxl": _sdxl,
    "flux": _flux,
    "sd3": _sd3,
    "wan": _wan,
    **{name: partial(_of_transformer, *parts) for name, parts in _TRANSFORMERS.items()},
}


def pipeline(architecture: str) -> Any:
    """The same weights at every call."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _PIPELINES[architecture]()
