"""Whole differences of weights: added up exactly where they can be, factors where another adapter has factors."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorafold import LorafoldError, merge
from lorafold.adapters import load, save
from tests.adapters.samples import kohya_file, kohya_pair, normal, update

FULL = {"x.diff": normal(6, 5), "x.diff_b": normal(6)}
REST = {"n.w_norm": normal(3), "n.b_norm": normal(3, seed=1), "m.diff": normal(4), "p.diff": normal(6, 5, 3, 3)}


def files(folder: Path, *contents: dict[str, Tensor]) -> list[Path]:
    return [kohya_file(folder / f"{i}.safetensors", tensors) for i, tensors in enumerate(contents)]


def merged(paths: list[Path], **settings):
    return merge(paths, weights=[2.0, -0.5], rank="max", subspace_weight=0.0, dtype="float32", **settings).adapter


def test_differences_are_summed_with_the_weights(tmp_path: Path) -> None:
    """Weights of norms, biases, and of layers that no adapter has factors for: whatever the rank."""
    other = {key: normal(*tensor.shape, seed=7) for key, tensor in (FULL | REST).items()}
    result = merged(files(tmp_path, kohya_pair("q") | FULL | REST, kohya_pair("q") | other))
    again = load(save(result, tmp_path / "out.safetensors"))
    assert again.deltas.keys() == other.keys() and list(again.modules) == ["q"]
    for key, found in again.deltas.items():
        torch.testing.assert_close(found, 2 * (FULL | REST)[key] - 0.5 * other[key], rtol=1e-6, atol=1e-6)


def test_a_difference_that_only_one_adapter_has_is_weighted_too(tmp_path: Path) -> None:
    result = merged(files(tmp_path, kohya_pair("q"), kohya_pair("q") | REST))
    torch.testing.assert_close(result.deltas["n.w_norm"], -0.5 * REST["n.w_norm"])


@pytest.mark.parametrize("kernel", [(), (3, 3)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_where_another_adapter_has_factors_the_sum_is_that_of_the_updates(tmp_path, kernel, dtype) -> None:
    whole = normal(6, 5, *kernel, dtype=dtype)
    up, down = normal(6, 2, *(1 for _ in kernel), dtype=dtype), normal(2, 5, *kernel, dtype=dtype)
    pair = {"x.lora_up.weight": up, "x.lora_down.weight": down}
    result = merged(files(tmp_path, pair, {"x.diff": whole, "x.diff_b": normal(6)} | kohya_pair("q")))
    expected = 2 * up.double().flatten(1) @ down.double().flatten(1) - 0.5 * whole.double().flatten(1)
    assert set(result.deltas) == {"x.diff_b"} and result.modules["x"].kernel == kernel
    torch.testing.assert_close(update(result.modules["x"]), expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_a_file_of_whole_differences_alone_is_read_as_factors(tmp_path: Path, caplog) -> None:
    tensors = FULL | {"c.diff": normal(6, 5, 3, 3)}
    adapter = load(kohya_file(tmp_path / "a.safetensors", tensors))
    assert set(adapter.modules) == {"x", "c"} and set(adapter.deltas) == {"x.diff_b"} and not caplog.messages
    for name, module in adapter.modules.items():
        expected = tensors[f"{name}.diff"].flatten(1).double()
        torch.testing.assert_close(update(module), expected, rtol=0, atol=0)
        assert module.kernel == tuple(tensors[f"{name}.diff"].shape[2:])


def test_too_high_a_rank_is_cut_and_said(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        module = load(kohya_file(tmp_path / "a.safetensors", FULL), rank=2).modules["x"]
    energies = torch.linalg.svdvals(FULL["x.diff"].double()).square()
    assert module.rank == 2 and module.lost == pytest.approx(float(energies[2:].sum() / energies.sum()), rel=1e-5)
    assert "input_rank=2" in caplog.text and "a.safetensors" in caplog.text


def test_a_file_of_biases_alone_is_no_lora(tmp_path: Path) -> None:
    with pytest.raises(LorafoldError, match="holds no LoRA factors"):
        load(kohya_file(tmp_path / "a.safetensors", {"x.diff_b": normal(6)}))


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    bad = {"x.diff": torch.full((6, 5), torch.nan)}
    with pytest.raises(LorafoldError, match=r"x\.diff: holds NaN or Inf"):
        load(kohya_file(tmp_path / "a.safetensors", bad))
