"""Convolutions in groups: PEFT computes what lorafold reads and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lorafold.adapters import load, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.pipeline import merge
from lorafold.pipelines.resize.pipeline import resize
from tests.adapters.samples import normal, update

peft = pytest.importorskip("peft")


def network(groups: int, kernel: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(6, 4, kernel, groups=groups, padding=kernel // 2), nn.Conv2d(4, 4, 1))


def trained(folder: Path, groups: int, kernel: int = 3, rank: int = 4, seed: int = 1) -> Path:
    """An adapter of random numbers, as PEFT saves it."""
    config = peft.LoraConfig(target_modules=["0", "1"], r=rank, lora_alpha=3 * rank, init_lora_weights=False)
    with pytest.warns(UserWarning, match="groups > 1"):
        model = peft.get_peft_model(network(groups, kernel), config)
    for i, (name, parameter) in enumerate(model.named_parameters()):
        if "lora_" in name:
            parameter.data = normal(*parameter.shape, seed=seed + i)
    model.save_pretrained(folder)
    return folder


def computed(folder: Path, groups: int, x: torch.Tensor, kernel: int = 3) -> torch.Tensor:
    """What the adapter adds to the first layer's outputs."""
    with pytest.warns(UserWarning, match="groups > 1"):
        model = peft.PeftModel.from_pretrained(network(groups, kernel), str(folder))
    layer = model.base_model.model[0]
    return layer(x) - layer.base_layer(x)


def dense(folder: Path, x: torch.Tensor, kernel: int = 3) -> torch.Tensor:
    """The same from the updates that lorafold reads, all groups one after the other."""
    modules = load(folder).modules
    rows = torch.cat([update(module) for name, module in modules.items() if name.startswith("0")])
    return nn.functional.conv2d(x.double(), rows.reshape(4, 6, kernel, kernel), padding=kernel // 2)


@pytest.mark.parametrize(("groups", "kernel"), [(2, 3), (2, 1)])
def test_it_is_read_and_written_as_peft_computes_it(tmp_path: Path, groups: int, kernel: int) -> None:
    folder, x = trained(tmp_path / "a", groups, kernel), normal(2, 6, 5, 5)
    expected = computed(folder, groups, x, kernel).double()
    torch.testing.assert_close(dense(folder, x, kernel), expected, rtol=1e-4, atol=1e-4)
    again = save(load(folder), tmp_path / "again")
    theirs, ours = (load_file(path / "adapter_model.safetensors") for path in (folder, again))
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in theirs)
    torch.testing.assert_close(computed(again, groups, x, kernel).double(), expected)


def test_two_merge_and_are_resized_as_peft_adds_them(tmp_path: Path) -> None:
    folders, x = [trained(tmp_path / name, 2, seed=seed) for name, seed in (("a", 1), ("b", 40))], normal(2, 6, 5, 5)
    result = merge(folders, weights=[0.5, 2.0], core="sum", rank="max")
    merged = computed(save(result.adapter, tmp_path / "merged"), 2, x)
    expected = 0.5 * computed(folders[0], 2, x) + 2 * computed(folders[1], 2, x)
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)
    small = save(resize(folders[0], rank=1).adapter, tmp_path / "small")
    torch.testing.assert_close(computed(small, 2, x).double(), dense(small, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        (((4, 6, 3, 3), (4, 3, 1, 1)), "rank 3 .* has rank 4"),
        (((4, 6, 3, 3), (5, 2, 1, 1)), "rank 2 .* has rank 4"),
        (((8, 6, 3, 3), (4, 4, 1, 1)), "rank 8, but adapter_config.json says 4"),
        (((4, 6, 3), (4, 2, 1, 1)), "rank 2 .* has rank 4"),
    ],
)
def test_what_are_no_groups_is_damaged(tmp_path: Path, shapes: tuple[tuple[int, ...], ...], problem: str) -> None:
    folder = trained(tmp_path / "a", 2)
    tensors = load_file(folder / "adapter_model.safetensors")
    for side, shape in zip("AB", shapes, strict=True):
        tensors[f"base_model.model.0.lora_{side}.weight"] = normal(*shape)
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(LorafoldError, match=problem):
        load(folder)
