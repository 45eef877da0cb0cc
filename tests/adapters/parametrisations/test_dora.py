"""DoRA folded into plain factors, in both axis conventions: against dense float64 formulas, LyCORIS and PEFT."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lorafold.adapters import load, save
from lorafold.common.errors import LorafoldError
from tests.adapters.parametrisations.test_lycoris import CONV, LINEAR, theirs
from tests.adapters.samples import kohya_file, kohya_pair, normal, peft_folder, peft_pair, update

N = "lora_unet_down_a"
KEY = "down.a.weight"


def folded(weight: Tensor, delta: Tensor, magnitude: Tensor) -> Tensor:
    """W' - W, flattened: axes of the magnitude that are 1 are those of the norm."""
    weight, delta, magnitude = weight.double(), delta.double(), magnitude.double()
    axes = [axis for axis, size in enumerate(magnitude.shape) if size == 1]
    changed = weight + delta.reshape(weight.shape)
    norm = changed.square().sum(axes, keepdim=True).sqrt()
    return (magnitude * changed / norm - weight).flatten(1)


def base_file(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, folder / "base.safetensors")
    return folder / "base.safetensors"


def close(found: Tensor, expected: Tensor, accuracy: float = 1e-6) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=accuracy * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("alpha", [None, 1.0])
@pytest.mark.parametrize(
    ("kernel", "magnitude"),
    [
        pytest.param((), (8, 1), id="per output"),
        pytest.param((), (1, 6), id="per input"),
        pytest.param((), (8,), id="per output, a vector"),
        pytest.param((3, 2), (8, 1, 1, 1), id="convolution per output"),
        pytest.param((3, 2), (1, 6, 1, 1), id="convolution per input"),
        pytest.param((1, 1), (1, 6, 1, 1), id="1 x 1 per input"),
    ],
)
def test_kohya(
    tmp_path: Path, kernel: tuple[int, ...], magnitude: tuple[int, ...], alpha: float | None, dtype: torch.dtype
) -> None:
    down, up = normal(2, 6, *kernel, dtype=dtype), normal(8, 2, *(1 for _ in kernel), dtype=dtype, seed=1)
    scales = normal(*magnitude, dtype=dtype, seed=2).abs() + 1
    weight = normal(8, 6, *kernel, dtype=dtype, seed=3)
    tensors = {f"{N}.lora_down.weight": down, f"{N}.lora_up.weight": up, f"{N}.dora_scale": scales}
    tensors |= {} if alpha is None else {f"{N}.alpha": torch.tensor(alpha)}
    base = base_file(tmp_path, {KEY: weight, "down.b.weight": weight + 1})
    module = load(kohya_file(tmp_path / "a.safetensors", tensors), base=base).modules[N]
    delta = (1.0 if alpha is None else alpha / 2) * up.double().flatten(1) @ down.double().flatten(1)
    wide = scales.reshape(8, *(1 for _ in weight.shape[1:])) if scales.ndim == 1 else scales
    close(update(module), folded(weight, delta, wide), 1e-13 if dtype is torch.float64 else 1e-6)
    assert (module.kernel, module.scale, module.lost) == (kernel, 1.0, 0.0)


def test_beyond_the_rank_the_best_is_kept_and_the_loss_is_said(tmp_path: Path, caplog) -> None:
    weight, scales = normal(30, 20, seed=3), normal(30, 1, seed=2).abs()
    tensors = kohya_pair(N, 30, 20) | {f"{N}.dora_scale": scales}
    base = base_file(tmp_path, {KEY: weight})
    exact = load(kohya_file(tmp_path / "a.safetensors", tensors), base=base).modules[N]
    expected = folded(weight, tensors[f"{N}.lora_up.weight"] @ tensors[f"{N}.lora_down.weight"], scales)
    close(update(exact), expected)
    with caplog.at_level(logging.WARNING):
        cut = load(tmp_path / "a.safetensors", base=base, rank=5).modules[N]
    energies = torch.linalg.svdvals(expected).square()
    assert cut.rank == 5 and cut.lost == pytest.approx(float(energies[5:].sum() / energies.sum()), rel=1e-5)
    assert float((update(cut) - expected).square().sum() / energies.sum()) == pytest.approx(cut.lost, rel=1e-4)
    assert "input_rank=5" in caplog.text and N in caplog.text


def test_magnitudes_that_change_nothing_leave_the_plain_update(tmp_path: Path) -> None:
    weight, tensors = normal(6, 5, seed=3), kohya_pair(N)
    delta = tensors[f"{N}.lora_up.weight"].double() @ tensors[f"{N}.lora_down.weight"].double()
    tensors[f"{N}.dora_scale"] = (weight.double() + delta).norm(dim=1, keepdim=True)
    path = kohya_file(tmp_path / "a.safetensors", tensors)
    module = load(path, base=base_file(tmp_path, {KEY: weight}), rank=2).modules[N]
    close(update(module), delta)
    assert module.lost < 1e-12


def test_a_row_that_the_update_erases_stays_erased(tmp_path: Path) -> None:
    weight, tensors = normal(6, 5, seed=3), kohya_pair(N)
    delta = tensors[f"{N}.lora_up.weight"].double() @ tensors[f"{N}.lora_down.weight"].double()
    weight = weight.double()
    weight[2] = -delta[2]
    tensors[f"{N}.dora_scale"] = torch.ones(6, 1)
    path = kohya_file(tmp_path / "a.safetensors", tensors)
    found = update(load(path, base=base_file(tmp_path, {KEY: weight})).modules[N])
    assert found.isfinite().all()
    torch.testing.assert_close(found[2], -weight[2], rtol=0, atol=1e-6)


def test_a_loha_with_magnitudes_is_cut_once_at_the_end(tmp_path: Path) -> None:
    parts = {f"hada_w{i}_{a}": normal(*shape, seed=i) for i in (1, 2) for a, shape in (("a", (9, 3)), ("b", (3, 8)))}
    weight, scales = normal(9, 8, seed=3), normal(9, 1, seed=4).abs() + 1
    tensors = {f"{N}.{part}": tensor for part, tensor in (parts | {"dora_scale": scales}).items()}
    path, base = kohya_file(tmp_path / "a.safetensors", tensors), base_file(tmp_path, {KEY: weight})
    delta = (parts["hada_w1_a"] @ parts["hada_w1_b"]).double() * (parts["hada_w2_a"] @ parts["hada_w2_b"]).double()
    expected = folded(weight, delta, scales)
    close(update(load(path, base=base).modules[N]), expected)
    energies = torch.linalg.svdvals(expected).square()
    assert load(path, base=base, rank=4).modules[N].lost == pytest.approx(float(energies[4:].sum() / energies.sum()))


@pytest.mark.parametrize("on_out", [True, False])
@pytest.mark.parametrize("kind", ["locon", "loha", "lokr"])
@pytest.mark.parametrize(
    ("shape", "options"), [(LINEAR, {}), (CONV, {"use_tucker": True})], ids=["linear", "convolution"]
)
def test_lycoris_itself_computes_the_same(tmp_path: Path, kind: str, shape: tuple, options: dict, on_out: bool) -> None:
    layer, module = theirs(kind, shape, {**options, "weight_decompose": True, "wd_on_out": on_out})
    module.dora_scale.data.abs_().add_(0.5)
    delta = module.get_diff_weight()[0] if kind == "locon" else module.get_weight(module.shape)
    expected = (module.apply_weight_decompose(layer.weight + delta) - layer.weight).detach().double().flatten(1)
    state = {f"{N}.{key}": tensor.detach().clone() for key, tensor in module.state_dict().items()}
    base = base_file(tmp_path, {KEY: layer.weight.detach()})
    found = load(kohya_file(tmp_path / "a.safetensors", state), base=base).modules[N]
    close(update(found), expected, 1e-5)


def peft_model(config: dict) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A tiny base model, and the same under PEFT's DoRA with random numbers."""
    peft = pytest.importorskip("peft")
    from transformers.pytorch_utils import Conv1D

    def make() -> torch.nn.Module:
        torch.manual_seed(0)
        parts = {"fc": torch.nn.Linear(6, 9), "conv": torch.nn.Conv2d(3, 4, (3, 2)), "emb": torch.nn.Embedding(11, 7)}
        block = torch.nn.ModuleDict(parts if not config.get("fan_in_fan_out") else {"fc": Conv1D(6, 6)})
        return torch.nn.ModuleDict({"block": block})

    full = {"r": 2, "lora_alpha": 3, "use_dora": True, "init_lora_weights": False, **config}
    model = peft.get_peft_model(make(), peft.LoraConfig(**full))
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data.mul_(torch.linspace(0.5, 1.5, parameter.numel()).reshape(parameter.shape))
    return make(), model


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        pytest.param({"target_modules": ["fc", "conv"]}, ("fc", "conv"), id="linear and convolution"),
        pytest.param({"target_modules": ["emb"]}, ("emb",), id="embedding"),
        pytest.param({"target_modules": ["fc"], "use_rslora": True}, ("fc",), id="rsLoRA"),
        pytest.param({"target_modules": ["fc"], "fan_in_fan_out": True}, ("fc",), id="Conv1D, square and transposed"),
    ],
)
def test_peft_itself_computes_the_same(tmp_path: Path, config: dict, layers: tuple[str, ...]) -> None:
    plain, model = peft_model(config)
    model.save_pretrained(str(tmp_path / "adapter"))
    base = base_file(tmp_path, {key: tensor.detach() for key, tensor in plain.state_dict().items()})
    merged = model.merge_and_unload().state_dict()
    adapter = load(tmp_path / "adapter", base=base)
    assert {name for name in adapter.modules} == {f"block.{layer}" for layer in layers}
    for name, module in adapter.modules.items():
        key = f"{name}.weight"
        expected = (merged[key] - plain.state_dict()[key]).detach().double().flatten(1)
        transposed = module.kind == "embedding" or config.get("fan_in_fan_out")
        close(update(module), expected.T if transposed else expected, 1e-5)


def test_what_is_written_is_plain_lora_for_peft(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    plain, model = peft_model({"target_modules": ["fc"]})
    model.save_pretrained(str(tmp_path / "adapter"))
    base = base_file(tmp_path, {key: tensor.detach() for key, tensor in plain.state_dict().items()})
    written = save(load(tmp_path / "adapter", base=base), tmp_path / "out")
    loaded = peft.PeftModel.from_pretrained(plain, str(written))
    assert not loaded.peft_config["default"].use_dora
    torch.testing.assert_close(
        loaded.merge_and_unload()["block"]["fc"].weight,
        model.merge_and_unload()["block"]["fc"].weight,
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("suffix", ["", ".default", ".weight", ".default.weight"])
def test_every_spelling_of_pefts_magnitudes(tmp_path: Path, suffix: str) -> None:
    name = suffix.removesuffix(".weight")
    tensors = peft_pair(adapter=name) | {f"base_model.model.block.q_proj.lora_magnitude_vector{suffix}": torch.ones(6)}
    base = base_file(tmp_path, {"block.q_proj.weight": normal(6, 5, seed=3)})
    adapter = load(peft_folder(tmp_path / "a", tensors, use_dora=True), base=base)
    assert list(adapter.modules) == ["block.q_proj"]


def test_without_a_base_the_remedy_is_said(tmp_path: Path) -> None:
    tensors = kohya_pair(N) | {f"{N}.dora_scale": torch.ones(6, 1)}
    with pytest.raises(LorafoldError, match=r"DoRA, which cannot be merged without the base weights.*base=PATH"):
        load(kohya_file(tmp_path / "a.safetensors", tensors))


def test_a_base_is_not_opened_for_plain_lora(tmp_path: Path) -> None:
    path = kohya_file(tmp_path / "a.safetensors", kohya_pair(N))
    assert load(path, base=tmp_path / "none").modules.keys() == {N}
