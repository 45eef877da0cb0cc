"""Single files of SD and SDXL, in the names of the original code, beside the folders of diffusers."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import lorafold
from lorafold.adapters.naming import ARCHITECTURES, places
from tests.adapters.checkpoints.models import model_file
from tests.adapters.samples import normal, update
from tests.builders import one_thread as one_thread
from tests.clients.pipelines import pipeline

ENCODERS = {
    "sd": {"text_encoder": "cond_stage_model.transformer.text_model."},
    "sdxl": {"text_encoder": "conditioner.embedders.0.transformer.text_model."},
}
OPEN_CLIP = {"self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def folder(path: Path, architecture: str, seed: int | None = None) -> Path:
    """The pipeline; with a seed, every matrix of U-Net and text encoders changed by rank 2."""
    pipe = pipeline(architecture)
    for part in (pipe.components if seed is not None else {}).values():
        for place, parameter in enumerate(part.parameters() if isinstance(part, torch.nn.Module) else ()):
            if parameter.ndim > 1:
                m, n = len(parameter), parameter[0].numel()
                change = normal(m, 2, seed=place) @ normal(2, n, seed=place + seed)
                parameter.data += 0.05 * change.view_as(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe.save_pretrained(path)
    return path


def single_file(source: Path, architecture: str) -> Path:
    """The same weights as one file: what the dictionaries name, and OpenCLIP by hand."""
    tensors: dict[str, Tensor] = {}
    unet = load_file(source / "unet" / "diffusion_pytorch_model.safetensors")
    names = {entry.diffusers[0]: entry.original for entry in ARCHITECTURES[architecture]().components[0].entries}
    for key, tensor in unet.items():
        path, _, leaf = key.rpartition(".")
        tensors[f"model.diffusion_model.{names.get(path, path)}.{leaf}"] = tensor
    for part, front in ENCODERS[architecture].items():
        for key, tensor in load_file(source / part / "model.safetensors").items():
            tensors[front + key.removeprefix("text_model.")] = tensor
    if architecture == "sdxl":
        tensors |= open_clip(load_file(source / "text_encoder_2" / "model.safetensors"))
    return model_file(source.with_suffix(".safetensors"), tensors)


def open_clip(encoder: dict[str, Tensor]) -> dict[str, Tensor]:
    front, plain = "conditioner.embedders.1.model.", {k.removeprefix("text_model."): v for k, v in encoder.items()}
    tensors = {f"{front}text_projection": plain["text_projection.weight"].T}
    for i in range(2):
        ours, theirs = f"encoder.layers.{i}.", f"{front}transformer.resblocks.{i}."
        for leaf in ("weight", "bias"):
            stack = [plain[f"{ours}self_attn.{x}_proj.{leaf}"] for x in "qkv"]
            tensors[f"{theirs}attn.in_proj_{leaf}"] = torch.cat(stack)
            tensors |= {f"{theirs}{new}.{leaf}": plain[f"{ours}{old}.{leaf}"] for old, new in OPEN_CLIP.items()}
    return tensors


@pytest.mark.parametrize("architecture", [pytest.param("sd", marks=pytest.mark.slow), "sdxl"])
def test_a_file_and_a_folder_are_one_model(architecture: str, tmp_path: Path) -> None:
    """The adapter of each pair of layouts is the same, and fused into a file it makes the tuned one of it."""
    folders = [folder(tmp_path / "base", architecture), folder(tmp_path / "tuned", architecture, seed=1)]
    files = [single_file(path, architecture) for path in folders]
    pairs = {"folders": folders, "files": files, "across": [files[0], folders[1]]}
    found = {name: lorafold.extract(*pair, rank=4).adapter for name, pair in pairs.items()}
    names = found["folders"].modules.keys()
    components = {places(architecture, ARCHITECTURES[architecture]().kohya)[name].component for name in names}
    assert components == {component.name for component in ARCHITECTURES[architecture]().components}
    for name in ("files", "across"):
        assert found[name].modules.keys() == names
        for key, module in found[name].modules.items():
            expected = update(found["folders"].modules[key])
            assert (update(module) - expected).norm() < 1e-5 * expected.norm(), key
    lorafold.fuse(files[0], [found["folders"]]).save(tmp_path / "fused.safetensors")
    fused, tuned, base = (load_file(path) for path in (tmp_path / "fused.safetensors", files[1], files[0]))
    for key, tensor in tuned.items():
        change = (tensor.double() - base[key].double()).norm()
        if change and "embed" not in key:
            assert (fused[key].double() - tensor.double()).norm() < 1e-5 * change, key
