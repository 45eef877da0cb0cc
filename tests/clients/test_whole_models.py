"""Models fused by lorafold beside what PEFT and diffusers fuse, and what is extracted from the two again."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import lorafold
from lorafold.adapters import Adapter
from tests.builders import one_thread as one_thread
from tests.clients.peft_models import base_model, outputs, peft, transformers
from tests.clients.pipelines import pipeline


def gpt2() -> nn.Module:
    """Whose layers are Conv1D, stored transposed; one of them is square."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_embd=8, n_layer=2, n_head=2, n_positions=16, vocab_size=11, tie_word_embeddings=False
    )
    return transformers.GPT2LMHeadModel(config).eval()


MODELS = {"gpt2": gpt2, **{kind: lambda kind=kind: base_model(kind) for kind in ("bert", "llama", "conv")}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"target_modules": ["q_proj", "down_proj", "embed_tokens"], "r": 3, "lora_alpha": 5}),
    "norms and head": ("llama", {"target_modules": ["v_proj"], "modules_to_save": ["norm", "lm_head"]}),
    "DoRA": ("llama", {"target_modules": ["k_proj", "up_proj"], "use_dora": True, "r": 2}),
    "bert, rsLoRA": ("bert", {"target_modules": ["query", "dense"], "r": 4, "use_rslora": True}),
    "biases": ("bert", {"target_modules": ["query", "dense"], "bias": "all"}),
    "LoRA biases": ("bert", {"target_modules": ["query", "dense"], "lora_bias": True}),
    "gpt2": ("gpt2", {"target_modules": ["c_attn", "c_proj", "wpe"], "r": 3, "fan_in_fan_out": True}),
    "gpt2, DoRA": ("gpt2", {"target_modules": ["c_proj"], "r": 3, "fan_in_fan_out": True, "use_dora": True}),
    "convolutions": ("conv", {"target_modules": ["convolution"], "r": 2, "lora_alpha": 7}),
}


def randomised(model: nn.Module) -> nn.Module:
    """Everything that an adapter of it may change, changed."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if any(mark in name for mark in ("lora_", "modules_to_save")) or parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def tensors(folder: Path) -> dict[str, Tensor]:
    return {
        f"{file.parent.relative_to(folder)}/{key}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for key, tensor in load_file(file).items()
    }


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor], base: dict[str, Tensor]) -> float:
    """The largest relative one of an update; and what neither changed is the same."""
    assert ours.keys() == theirs.keys() == base.keys()
    worst, count = 0.0, 0
    for key, tensor in theirs.items():
        change = (tensor.double() - base[key].double()).norm()
        if change == 0:
            assert torch.equal(ours[key], base[key]), key
        else:
            worst, count = max(worst, float((ours[key].double() - tensor.double()).norm() / change)), count + 1
    assert count
    return worst


@pytest.mark.parametrize("case", CASES)
def test_as_peft_merges_and_unloads(case: str, tmp_path: Path) -> None:
    kind, config = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MODELS[kind]().save_pretrained(tmp_path / "base", max_shard_size="2kB")
        lora = peft.LoraConfig(init_lora_weights=False, **config)
        model = randomised(peft.get_peft_model(MODELS[kind](), lora))
        model.save_pretrained(tmp_path / "adapter")
        merged = model.merge_and_unload()
        merged.save_pretrained(tmp_path / "theirs", max_shard_size="2kB")
    lorafold.fuse(tmp_path / "base", [tmp_path / "adapter"]).save(tmp_path / "ours")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 1
    folders = (tensors(tmp_path / name) for name in ("ours", "theirs", "base"))
    assert difference(*folders) < 3e-6
    again = type(merged).from_pretrained(tmp_path / "ours")  # transformers finds every tensor
    assert all(torch.isfinite(parameter).all() for parameter in again.parameters())


@pytest.mark.parametrize("architecture", ["sd", pytest.param("sdxl", marks=pytest.mark.slow), "flux"])
def test_as_diffusers_fuses(architecture: str, tmp_path: Path) -> None:
    """U-Net or transformer, and text encoders, with an adapter that lorafold extracts from what diffusers fused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline(architecture).save_pretrained(tmp_path / "base")
        parts = [
            part
            for part in ("unet", "transformer", "text_encoder", "text_encoder_2")
            if (tmp_path / "base" / part).is_dir()
        ]
        adapter = random_adapter(tmp_path / "base", parts)
        file = lorafold.save(adapter, tmp_path / "a.safetensors")
        pipe = pipeline(architecture)
        pipe.load_lora_weights(str(file))
        pipe.fuse_lora(components=parts, lora_scale=0.5)
        pipe.unload_lora_weights()
        pipe.save_pretrained(tmp_path / "theirs")
    lorafold.fuse(tmp_path / "base", [file], weights=[0.5]).save(tmp_path / "ours")
    ours, theirs, base = (tensors(tmp_path / name) for name in ("ours", "theirs", "base"))
    assert difference(ours, theirs, base) < 3e-6
    found = lorafold.extract(tmp_path / "base", tmp_path / "theirs", format="diffusers", rank=2).adapter
    assert found.modules.keys() == adapter.modules.keys()
    for name, module in found.modules.items():
        wanted = 0.5 * adapter.modules[name].up.double() @ adapter.modules[name].down.double()
        error = (module.up.double() @ module.down.double() - wanted).norm() / wanted.norm()
        assert error < 1e-5, name  # the files' own rounding, of weights that are larger than their updates


def random_adapter(folder: Path, parts: list[str]) -> Adapter:
    """A rank of 2 for attention and convolutions of every part."""
    from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
    from lorafold.adapters.checkpoints.layout import layout_of
    from lorafold.adapters.module import Module

    generator, modules = torch.Generator().manual_seed(1), {}
    for name, weights in layout_of(open_checkpoint(folder)).layers.items():
        if name.split(".")[0] in parts and name.endswith(("to_q", "to_v", "q_proj", "fc1", "conv1", "to_out.0")):
            (m, n), kernel = weights["weight"].shape, weights["weight"].kernel
            up, down = (torch.randn(*shape, generator=generator) for shape in ((m, 2), (2, n)))
            modules[name] = Module(name, up, down, 1.0, kernel, kind="conv" if kernel else "linear")
    return Adapter("diffusers", modules)


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2", "conv"])
def test_peft_makes_the_tuned_model_of_base_and_what_is_extracted(kind: str, tmp_path: Path) -> None:
    """With every matrix, bias, norm and embedding changed, at full rank."""
    generator = torch.Generator().manual_seed(3)
    tuned = MODELS[kind]()
    for parameter in tuned.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    if kind == "conv":
        _take_norms_back(tuned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MODELS[kind]().save_pretrained(tmp_path / "base")
        tuned.save_pretrained(tmp_path / "tuned")
        result = lorafold.extract(tmp_path / "base", tmp_path / "tuned", rank=64, biases=True, embeddings=True)
        result.save(tmp_path / "adapter")
        model = peft.PeftModel.from_pretrained(MODELS[kind](), tmp_path / "adapter").eval()
    assert not {"biases", "embeddings", "unnamed"} & result.left_out.keys()
    lorafold.fuse(tmp_path / "base", [tmp_path / "adapter"]).save(tmp_path / "fused")
    ours, theirs, base = (tensors(tmp_path / name) for name in ("fused", "tuned", "base"))
    assert difference(ours, theirs, base) < 1e-5
    name = "conv" if kind == "conv" else "language"
    before, after, wanted = (outputs(one, name) for one in (MODELS[kind](), model, tuned.eval()))
    assert (after - wanted).abs().max() < 1e-3 * (before - wanted).abs().max()


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2", "conv"])
def test_extracted_factors_are_the_best_of_their_rank_in_dense_float64(kind: str, tmp_path: Path) -> None:
    generator, tuned = torch.Generator().manual_seed(4), MODELS[kind]()
    for parameter in tuned.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MODELS[kind]().save_pretrained(tmp_path / "base", max_shard_size="2kB")
        tuned.save_pretrained(tmp_path / "tuned", max_shard_size="2kB")
    before, after = (tensors(tmp_path / name) for name in ("base", "tuned"))
    found = lorafold.extract(tmp_path / "base", tmp_path / "tuned", rank=2).adapter
    assert len(found.modules) > 3
    for name, module in found.modules.items():
        matrix = (after[f"./{name}.weight"].double() - before[f"./{name}.weight"].double()).flatten(1)
        U, S, Vh = torch.linalg.svd(matrix.mT if kind == "gpt2" else matrix, full_matrices=False)
        best = (U[:, :2] * S[:2]) @ Vh[:2]
        error = (module.scale * module.up.double() @ module.down.double() - best).norm() / best.norm()
        assert error < 1e-6, name


def _take_norms_back(model: nn.Module) -> None:
    """PEFT loads no batch norm without its running means."""
    theirs = dict(base_model("conv").named_parameters())
    for name, parameter in model.named_parameters():
        if "normalization" in name:
            parameter.data.copy_(theirs[name].data)
