"""The model that a user names where a file leaves it open: believed unless something contradicts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lorafold.adapters import Adapter
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.convert.pipeline import convert
from tests.builders import random_adapter

OPEN = {f"transformer.transformer_blocks.0.attn.to_{part}": (3072, 3072) for part in "qkv"}


def adapter(**metadata: str) -> Adapter:
    """Attention alone, in diffusers' names: of Flux 1, and of its kin."""
    return replace(random_adapter("diffusers", OPEN, 1), metadata=metadata)


def test_without_it_the_message_says_what_to_choose_from() -> None:
    with pytest.raises(LorafoldError, match=r"could be for Flux 1 or .*Say which: model=flux or .*model=chroma"):
        convert(adapter(), format="kohya")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("flux", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("chroma", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("qwen", "lora_unet_transformer_blocks_0_attn_to_q"),
    ],
)
def test_its_names_are_written(model: str, name: str) -> None:
    assert name in convert(adapter(), format="kohya", model=model).adapter.modules


@pytest.mark.parametrize(
    ("given", "model", "problem"),
    [
        (adapter(), "fluxx", "model=fluxx, expected one of sd, .*Did you mean 'flux'"),
        (adapter(), "others", "model=others, expected one of sd"),
        (adapter(), "sdxl", "model=sdxl, but its names are not those of SDXL, they are those of Flux 1"),
        (adapter(), "sd3", "model=sd3, but its layers are as wide as those of Flux 1 .*, not of Stable Diffusion 3"),
        (
            adapter(**{"modelspec.architecture": "Flux.1-dev/lora"}),
            "qwen",
            "names are those of Qwen-Image, but it is for",
        ),
        (random_adapter("kohya", {"a": (2, 2)}, 1), "flux", "model=flux, but its names are not those of Flux 1"),
    ],
)
def test_what_contradicts_the_file_is_refused(given: Adapter, model: str, problem: str) -> None:
    with pytest.raises(LorafoldError, match=problem):
        convert(given, format="comfyui", model=model)


def test_formats_of_language_models_have_no_use_for_it() -> None:
    with pytest.raises(LorafoldError, match="model=flux names a model of images"):
        convert(adapter(), format="mlx", model="flux")
