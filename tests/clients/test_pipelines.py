"""Pipelines of diffusers load what lorafold merges: no key is left over or missing, every layer computes W + ΔW.

Inputs are files of several formats for one base model, in float16 and float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import lorafold
from lorafold.adapters import Adapter
from lorafold.adapters.conversion.convert import convert
from tests.builders import one_thread as one_thread
from tests.clients.checking import check_equal_outputs, check_outputs
from tests.clients.listening import complaints
from tests.clients.pipelines import pipeline
from tests.clients.trained import layers, summed, trained

WEIGHTS = [0.7, -0.4]
# What diffusers' own readers of these formats lose: they split Flux' linear1 as 3 x 3072 + 12288 whatever the width of
# the model, forget the component of layers outside the blocks, and know no patch embedding of Wan.
UNREAD = {
    ("flux", "kohya"): ("linear1", "_in", "final_layer"),
    ("wan", "kohya"): ("patch_embedding", "text_embedding", "time_", "img_emb", "head"),
    ("wan", "comfyui"): ("patch_embedding",),
}

TRANSFORMERS = ("flux2", "chroma", "qwen", "zimage", "lumina2", "auraflow", "ltx", "hunyuan", "hidream")


@dataclass(frozen=True)
class Case:
    """Two input files and what becomes of them.

    Args:
        forms: of the inputs; the merged file has the first one's.
        rank: 4 is the joint rank (8 where the parts of fused layers have their own), and every layer has it then; by
            "max" layers of one input alone have 2.
        converted: format of the file that is loaded, if it is not that of the merged one.
    """

    architecture: str
    forms: tuple[str, str]
    rank: int | str = "max"
    converted: str | None = None
    dtype: torch.dtype = torch.float32

    def inputs(self, pipe: Any) -> list[Adapter]:
        left_out = UNREAD.get((self.architecture, self.converted or self.forms[0]), ())
        pairs = enumerate(zip(self.forms, (0.5, 1.5), strict=True), start=1)
        return [
            trained(pipe, self.architecture, form, seed=seed, scale=scale, dtype=self.dtype, left_out=left_out)
            for seed, (form, scale) in pairs
        ]

    def __str__(self) -> str:
        ending = [] if self.converted is None else ["as", self.converted]
        return "-".join([self.architecture, "+".join(self.forms), str(self.rank), *ending, str(self.dtype)[6:]])


CASES = [
    Case("sd", ("kohya", "diffusers"), rank=4),
    Case("sd", ("diffusers", "kohya"), dtype=torch.float16),
    Case("sd", ("kohya", "diffusers"), converted="diffusers"),
    Case("sdxl", ("kohya", "diffusers"), rank=4, dtype=torch.float16),
    Case("sdxl", ("diffusers", "kohya")),
    Case("flux", ("kohya", "diffusers"), rank=8, dtype=torch.float16),
    Case("flux", ("diffusers", "kohya")),
    Case("flux", ("comfyui", "kohya"), converted="diffusers"),
    Case("sd3", ("diffusers", "kohya"), dtype=torch.float16),
    Case("sd3", ("kohya", "comfyui"), converted="diffusers"),
    Case("wan", ("kohya", "diffusers"), rank=4),
    Case("wan", ("diffusers", "comfyui"), dtype=torch.float16),
    Case("wan", ("comfyui", "kohya")),
    *(Case(name, ("diffusers", "kohya"), dtype=torch.float16) for name in TRANSFORMERS),
    *(Case(name, ("comfyui", "kohya"), converted="diffusers") for name in TRANSFORMERS),
]


# Of the two largest pipelines: the exact sum below is in the same format.
SLOW = (Case("sd", ("kohya", "diffusers"), converted="diffusers"), Case("sdxl", ("diffusers", "kohya")))


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case in SLOW else []) for case in CASES], ids=str
)
def test_a_merged_file_loads_and_adds_every_update(case: Case, tmp_path: Path) -> None:
    pipe = pipeline(case.architecture)
    inputs = case.inputs(pipe)
    files = saved(inputs, tmp_path)
    merged = lorafold.merge(files, weights=WEIGHTS, rank=case.rank).adapter
    path = lorafold.save(convert(merged, case.converted or case.forms[0]), tmp_path / "merged.safetensors")
    with complaints() as messages:
        pipe.load_lora_weights(str(tmp_path), weight_name=path.name)
    assert [message for message in messages if "associated to NoneType" not in message] == []  # a text encoder left out
    assert kinds(path) == {case.dtype}
    rtol = 4e-3 if case.dtype == torch.float16 else 1e-5
    check_outputs(layers(pipe), summed(inputs, WEIGHTS, case.architecture), rtol)


def saved(inputs: list[Adapter], folder: Path) -> list[Path]:
    names = ("first", "second")
    return [lorafold.save(adapter, folder / f"{name}.safetensors") for name, adapter in zip(names, inputs, strict=True)]


def kinds(path: Path) -> set[torch.dtype]:
    """The types of the factors in a file."""
    with safe_open(path, framework="pt") as file:
        return {file.get_tensor(key).dtype for key in file.keys() if not key.endswith(".alpha")}


# Files that diffusers reads itself, where it can; it has no reader for kohya's files of SD3.
BOTH = [
    pytest.param(Case("sd", ("kohya", "diffusers")), marks=pytest.mark.slow),
    Case("sdxl", ("kohya", "diffusers")),
    Case("flux", ("kohya", "diffusers")),
    Case("sd3", ("diffusers", "diffusers")),
    Case("wan", ("comfyui", "diffusers")),
]


@pytest.mark.parametrize("case", BOTH, ids=str)
def test_the_exact_sum_is_what_diffusers_computes_with_both_adapters(case: Case, tmp_path: Path) -> None:
    """core=sum, rank=max against set_adapters with weights."""
    both, one = pipeline(case.architecture), pipeline(case.architecture)
    inputs = case.inputs(both)
    files = saved(inputs, tmp_path)
    merged = lorafold.merge(files, weights=WEIGHTS, rank="max", core="sum").adapter
    lorafold.save(convert(merged, "diffusers"), tmp_path / "merged.safetensors")
    for pipe, name in ((both, "first"), (both, "second"), (one, "merged")):
        with complaints(name) as messages:
            pipe.load_lora_weights(str(tmp_path), weight_name=f"{name}.safetensors", adapter_name=name)
        assert [message for message in messages if "multiple adapters" not in message] == []
    both.set_adapters(["first", "second"], WEIGHTS)
    check_equal_outputs(layers(one), layers(both))
