"""Loading maps the file: factors are views of the map, on which no number has been read yet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import Tensor

from lorafold.adapters import load
from tests.adapters.samples import kohya_file, normal, peft_folder, peft_pair

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")


def maps(file: Path) -> list[range]:
    """The address ranges at which `file` is mapped."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))]
    bounds = [line.split()[0].split("-") for line in lines]
    return [range(int(low, 16), int(high, 16)) for low, high in bounds]


def lies_in(tensor: Tensor, file: Path) -> bool:
    return any(tensor.data_ptr() in area for area in maps(file))


def test_kohya_factors_are_views_of_the_map(tmp_path: Path) -> None:
    tensors = {"a.lora_down.weight": normal(2, 5), "a.lora_up.weight": normal(6, 2)}
    tensors |= {"c.lora_down.weight": normal(2, 4, 3, 3), "c.lora_up.weight": normal(6, 2, 1, 1)}
    file = kohya_file(tmp_path / "a.safetensors", tensors)
    adapter = load(file)
    for module in adapter.modules.values():
        assert lies_in(module.up, file) and lies_in(module.down, file)


def test_peft_factors_are_views_of_the_map(tmp_path: Path) -> None:
    adapter = load(peft_folder(tmp_path, peft_pair()))
    module = adapter.modules["block.q_proj"]
    file = tmp_path / "adapter_model.safetensors"
    assert lies_in(module.up, file) and lies_in(module.down, file)


def test_loading_touches_no_page_of_the_factors(tmp_path: Path) -> None:
    big = {"a.lora_down.weight": normal(64, 100_000), "a.lora_up.weight": normal(100_000, 64)}  # 51 MB
    file = kohya_file(tmp_path / "a.safetensors", big)
    adapter = load(file)
    assert resident(file) < 1_000
    assert float(adapter.modules["a"].up.sum()) != 0.0
    assert resident(file) > 20_000  # the measure itself works


def resident(file: Path) -> int:
    """How much of the map of `file` is in this process's memory, in kB."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(file))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total
