"""Defects of other tools' merges that lorafold does not have, each from files to a file.

kohya's scripts multiply both factors by the weight; concatenate but keep the first alpha; clamp the singular vectors;
and skip `lora_mid`. PEFT's merges once applied the scale twice, inherited rsLoRA with alpha = r, and could not reload
ranks that differ.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lorafold
from lorafold.adapters import Module
from tests.adapters.samples import kohya_file, normal, peft_folder, update
from tests.builders import one_thread as one_thread
from tests.oracles import relative

NAME = "lora_unet_a"


def kohya(path: Path, up: Tensor, down: Tensor, alpha: float | None = None) -> Path:
    tensors = {f"{NAME}.lora_up.weight": up, f"{NAME}.lora_down.weight": down}
    return kohya_file(path, tensors | ({} if alpha is None else {f"{NAME}.alpha": torch.tensor(alpha)}))


def peft(path: Path, up: Tensor, down: Tensor, **config: object) -> Path:
    prefix = "base_model.model.block.q_proj"
    return peft_folder(path, {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}, **config)


def merged(tmp_path: Path, files: list[Path], weights: list[float], **settings: object) -> Module:
    """The only module of the merged file, as it is read again."""
    adapter = lorafold.merge(files, weights=weights, **{"rank": "max", **settings}).adapter
    name = "merged.safetensors" if adapter.format == "kohya" else "merged"
    (module,) = lorafold.load(lorafold.save(adapter, tmp_path / name)).modules.values()
    return module


def pair(seed: int, r: int = 2, m: int = 12, n: int = 10) -> tuple[Tensor, Tensor]:
    return normal(m, r, seed=seed), normal(r, n, seed=seed + 50)


@pytest.mark.parametrize("weight", [0.5, 2.0, -0.5])
@pytest.mark.parametrize("core", ["sum", "peft_linear"])
def test_a_weight_counts_once_and_keeps_its_sign(tmp_path: Path, weight: float, core: str) -> None:
    up, down = pair(1)
    module = merged(tmp_path, [kohya(tmp_path / "a.safetensors", up, down)], [weight], core=core)
    assert relative(update(module), weight * up.double() @ down.double()) < 1e-6


def test_two_equal_adapters_at_weight_one_double(tmp_path: Path) -> None:
    """--concat keeps the first alpha while the rank doubles: it comes out at half of that, at 0.5 each."""
    up, down = pair(1)
    files = [kohya(tmp_path / f"{name}.safetensors", up, down, alpha=2.0) for name in "ab"]
    assert relative(update(merged(tmp_path, files, [1, 1])), 2 * up.double() @ down.double()) < 1e-6


def test_alphas_and_ranks_that_differ_are_not_lost(tmp_path: Path) -> None:
    """Nor is a missing alpha, which means alpha = rank, taken for 1."""
    (up, down), (wide_up, wide_down) = pair(1, r=2), pair(2, r=4)
    files = [kohya(tmp_path / "a.safetensors", up, down, alpha=0.5)]
    files += [kohya(tmp_path / "b.safetensors", wide_up, wide_down)]
    expected = 0.25 * up.double() @ down.double() + wide_up.double() @ wide_down.double()
    assert relative(update(merged(tmp_path, files, [1, 1])), expected) < 1e-6


def test_rslora_and_pefts_scale_count_once(tmp_path: Path) -> None:
    """The scale of the merged adapter is 1, by alpha / r, whatever the inputs' rule."""
    (up, down), (other_up, other_down) = pair(1, r=4), pair(2, r=2)
    files = [
        peft(tmp_path / "a", up, down, r=4, lora_alpha=6, use_rslora=True),
        peft(tmp_path / "b", other_up, other_down, r=2, lora_alpha=6),
    ]
    module = merged(tmp_path, files, [0.5, 0.25])
    expected = 0.5 * 6 / math.sqrt(4) * up.double() @ down.double() + 0.25 * 3 * other_up.double() @ other_down.double()
    assert module.scale == 1 and relative(update(module), expected) < 1e-6


def test_ranks_by_layer_reload(tmp_path: Path) -> None:
    prefix, ranks = "base_model.model.", {"fc": 1, "block.fc": 3, "block.2.fc": 2}
    tensors, expected = {}, {}
    for seed, (name, r) in enumerate(ranks.items()):
        up, down = pair(seed, r=r)
        tensors |= {f"{prefix}{name}.lora_A.weight": down, f"{prefix}{name}.lora_B.weight": up}
        expected[name] = 2 * up.double() @ down.double() / r  # alpha = 2 for all
    patterns = {rf"^{name.replace('.', '[.]')}": r for name, r in ranks.items()}
    folder = peft_folder(tmp_path / "a", tensors, target_modules=["fc"], rank_pattern=patterns)
    adapter = lorafold.merge([folder], weights=[1], rank="max").adapter
    again = lorafold.load(lorafold.save(adapter, tmp_path / "merged"))
    assert {name: module.rank for name, module in again.modules.items()} == ranks
    for name, module in again.modules.items():
        assert relative(update(module), expected[name]) < 1e-6


def test_a_tucker_core_is_not_ignored(tmp_path: Path) -> None:
    up, mid, down = normal(6, 2, 1, 1), normal(2, 2, 3, 3, seed=1), normal(2, 5, 1, 1, seed=2)
    parts = {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down, "alpha": torch.tensor(1.0)}
    file = kohya_file(tmp_path / "a.safetensors", {f"{NAME}.{part}": tensor for part, tensor in parts.items()})
    dense = 0.5 * torch.einsum("op,pqkl,qi->oikl", up[..., 0, 0].double(), mid.double(), down[..., 0, 0].double())
    module = merged(tmp_path, [file], [0.7])
    assert module.kernel == (3, 3) and relative(update(module), 0.7 * dense.flatten(1)) < 1e-6


def test_nothing_is_clamped_at_full_rank(tmp_path: Path) -> None:
    """svd_merge clamps singular vectors at the 99th percentile, an error of 10 % where all of the rank is kept."""
    pairs = [pair(seed, r=32, m=320, n=320) for seed in (1, 2)]
    files = [kohya(tmp_path / f"{i}.safetensors", *factors) for i, factors in enumerate(pairs)]
    expected = sum((up.double() @ down.double() for up, down in pairs), torch.zeros(320, 320, dtype=torch.float64))
    assert relative(update(merged(tmp_path, files, [1, 1], rank=64)), expected) < 1e-6
