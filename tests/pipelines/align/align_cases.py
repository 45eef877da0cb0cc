"""Pairs and triples of adapters to align, the degenerate ones among them."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.builders import changed, random_adapter

SHAPES = {"a": (14, 11), "b": (9, 30), "c": (14, 11)}


def pair(ranks=(3, 3), scales=(1.0, 1.0), form="kohya", seed=0):
    return [
        random_adapter(form, SHAPES, rank, seed=seed + i, scale=scale)
        for i, (rank, scale) in enumerate(zip(ranks, scales, strict=True))
    ]


def rank_deficient(adapter):
    """Every module with a column of up that repeats another."""
    return changed(adapter, lambda m: replace(m, up=torch.cat([m.up[:, :1], m.up[:, :-1]], 1)))


def zeroed(adapter, name="a"):
    modules = {**adapter.modules, name: replace(adapter.modules[name], up=0 * adapter.modules[name].up)}
    return replace(adapter, modules=modules)


CASES = {
    "equal ranks": lambda: pair(),
    "second lower": lambda: pair((5, 2)),
    "second higher": lambda: pair((2, 5)),
    "negative scale": lambda: pair(scales=(1.0, -2.5)),
    "first negative": lambda: pair(scales=(-0.25, 3.0)),
    "zero scale": lambda: pair(scales=(1.0, 0.0)),
    "very different sizes": lambda: pair(scales=(1e4, 1e-4)),
    "zero update": lambda: [pair()[0], zeroed(pair()[1])],
    "first zero": lambda: [zeroed(pair()[0]), pair()[1]],
    "rank-deficient": lambda: [pair((4, 4))[0], rank_deficient(pair((4, 4))[1])],
    "both rank-deficient": lambda: [rank_deficient(adapter) for adapter in pair((4, 3))],
    "missing modules": lambda: [changed(pair()[0], only=["a", "b"]), changed(pair((3, 4))[1], only=["c", "b"])],
    "three adapters": lambda: [*pair((2, 4)), random_adapter("kohya", SHAPES, 3, seed=9)],
    "identical": lambda: [pair()[0], pair()[0]],
}
