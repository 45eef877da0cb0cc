"""What is measured: layers of a real model, and adapters of them as people train them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import shapes
from shapes import Layer


@dataclass(frozen=True)
class Case:
    """N adapters of the same layers.

    Args:
        title: for a table.
        layers: adapted by every adapter.
        format: "kohya" or "peft".
        dtype: of the files.
        ranks, alphas: one per adapter.
        rank: of the merged adapter.
        at_most: per objective, how many times the floor a merge may take.
        at_least: per rival, how many times faster the first objective has to be.
    """

    title: str
    layers: tuple[Layer, ...]
    format: str
    dtype: str
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    rank: int = 32
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)


# alpha = 1 is sd-scripts' default, alpha = 2 r PEFT's habit.
CASES: dict[str, Case] = {
    "sd15": Case(
        "SD 1.5",
        shapes.sd15(),
        "kohya",
        "float16",
        (32, 64),
        (16, 1),
        at_most={"chordal": 5, "reconstruction_weight=0": 2.5, "subspace_weight=0": 2.5},
        at_least={"PEFT svd": 80, "thin SVD": 40, "svd_lowrank": 3},
    ),
    "sdxl": Case("SDXL", shapes.sdxl(), "kohya", "float16", (64, 64), (32, 1), at_most={"chordal": 5}),
    "flux": Case("Flux", shapes.flux(), "kohya", "bfloat16", (16, 32), (16, 16)),
    "llama16": Case("Llama-3-8B", shapes.llama3_8b(), "peft", "bfloat16", (16, 16), (32, 16), rank=16),
    "llama64": Case("Llama-3-8B", shapes.llama3_8b(), "peft", "bfloat16", (64, 64), (128, 64)),
    "llama8x16": Case(
        "Llama-3-8B", shapes.llama3_8b(), "peft", "bfloat16", (16,) * 8, (32, 16) * 4, at_most={"chordal": 6}
    ),
    **{
        f"many{count}": Case(
            f"every eighth layer of SD 1.5, {count} adapters",
            shapes.sd15()[::8],
            "kohya",
            "float16",
            (16,) * count,
            (16, 1) * (count // 2),
        )
        for count in (4, 16, 64)
    },
    "tiny": Case("part of SD 1.5", shapes.sd15()[:12] + shapes.sd15()[192:198], "kohya", "float16", (8, 16), (4, 1), 8),
}
DEFAULT_CASES = tuple(name for name in CASES if name != "tiny" and not name.startswith("many"))

# 1x to 8x the modules; m + n at fixed m n; m n at fixed m + n; 4 to 64 adapters. In the first three no side is below
# 512: between subspaces of a narrow layer, chance alone makes overlaps that take the solver more turns.
SCALING: dict[str, tuple[str, ...]] = {
    "modules": tuple(f"{count}x1280x1280" for count in (33, 66, 132, 264)),
    "m+n": tuple(f"16x{m}x{n}" for m, n in ((4096, 4096), (2048, 8192), (1024, 16384), (512, 32768))),
    "mn": tuple(f"16x{m}x{n}" for m, n in ((512, 7680), (1024, 7168), (2048, 6144), (4096, 4096))),
    "adapters": ("many4", "many16", "many64"),
}


def find(name: str) -> Case:
    """A case of `CASES`, or with "COUNTxMxN" the ranks of the SD 1.5 pair on so many layers of m x n."""
    if name in CASES:
        return CASES[name]
    count, m, n = map(int, name.split("x"))
    return Case(f"{count} of {m} x {n}", shapes.uniform(count, m, n), "kohya", "float16", (32, 64), (16, 1))
