"""What diffusers itself makes of our files: every layer computes base + Delta W, no key is left over or missing."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from lorafold.adapters import Adapter, Module, save
from lorafold.adapters.conversion.convert import convert
from tests.adapters.samples import normal, update

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture
def pipeline() -> object:
    """Stable Diffusion in miniature: all blocks of SD 1, random weights."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 4, 4, 4), norm_num_groups=2, cross_attention_dim=8, attention_head_dim=2
    )
    text = transformers.CLIPTextConfig(
        hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=2, vocab_size=10
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return diffusers.StableDiffusionPipeline(
            vae=diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2),
            text_encoder=transformers.CLIPTextModel(text),
            tokenizer=None,
            unet=unet,
            scheduler=diffusers.DDIMScheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


LAYERS = {
    "unet.conv_in": (4, 4, (3, 3)),
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": (4, 8, ()),
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0": (4, 4, ()),
    "unet.up_blocks.0.upsamplers.0.conv": (4, 4, (3, 3)),
    "unet.down_blocks.0.attentions.0.proj_in": (4, 4, (1, 1)),
    "text_encoder.text_model.encoder.layers.1.self_attn.q_proj": (8, 8, ()),
    "text_encoder.text_model.encoder.layers.0.mlp.fc2": (8, 8, ()),
    "text_encoder.text_model.encoder.layers.0.self_attn.out_proj": (8, 8, ()),
}


def adapter(*, mixed: bool) -> Adapter:
    """Ranks and scales that differ from layer to layer, or all alike."""
    modules = {}
    for seed, (name, (m, n, kernel)) in enumerate(LAYERS.items()):
        r, size = 1 + seed % 3 if mixed else 2, n * (kernel[0] ** 2 if kernel else 1)
        up, down = normal(m, r, seed=seed), normal(r, size, seed=seed + 1)
        modules[name] = Module(name, up, down, 0.3 + seed * mixed, kernel, kind="conv" if kernel else "linear")
    return Adapter("diffusers", modules)


def weights(pipeline) -> dict[str, torch.Tensor]:
    """Of every layer, by our names, with what PEFT and older transformers put in between taken out."""
    found = {}
    for component in ("unet", "text_encoder"):
        for name, module in getattr(pipeline, component).named_modules():
            if hasattr(module, "weight") and ".lora_" not in name:
                path = name.replace(".base_layer", "").removeprefix("text_model.")
                found[f"{component}.{path}"] = module.weight.detach().double().clone()
    return found


# Of a kohya file with several alphas diffusers 0.42 loses those of attention layers, so that one has to be converted.
@pytest.mark.parametrize(("form", "mixed"), [("diffusers", False), ("diffusers", True), ("kohya", False)])
def test_a_pipeline_adds_every_update(
    pipeline, form: str, mixed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = adapter(mixed=mixed)
    path = save(convert(before, form), tmp_path / "a.safetensors")
    with safe_open(path, framework="pt") as file:
        assert ("lora_adapter_metadata" in (file.metadata() or {})) == (mixed and form == "diffusers")
    base = weights(pipeline)
    diffusers.utils.logging.enable_propagation()
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.load_lora_weights(tmp_path, weight_name=path.name)
        pipeline.fuse_lora()
    assert not [record.message for record in caplog.records if "keys" in record.message]
    fused = weights(pipeline)
    deltas = {name.replace("text_model.", ""): update(module) for name, module in before.modules.items()}
    for name, weight in base.items():
        expected = weight + deltas[name].reshape(weight.shape) if name in deltas else weight
        torch.testing.assert_close(fused[name], expected, rtol=1e-5, atol=1e-5, msg=name)
    assert deltas.keys() <= base.keys()
