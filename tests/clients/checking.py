"""Whether the layers of a client's model compute base + ΔW, and no other layer is changed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from tests.adapters.samples import normal


def adapted(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Those that hold adapters."""
    return {name: layer for name, layer in layers.items() if hasattr(layer, "base_layer")}


def input_for(base: nn.Module) -> Tensor:
    """A few random vectors, images, videos or tokens that fit the layer."""
    if isinstance(base, nn.Embedding):
        return torch.arange(base.num_embeddings)
    n, *kernel = base.weight.shape[1:]
    return normal(2, n * getattr(base, "groups", 1), *(size + 3 for size in kernel))


def changed(base: nn.Module, delta: Tensor) -> nn.Module:
    """The layer with ΔW (m, n) added; an embedding's weight is ΔW transposed."""
    copy = deepcopy(base)
    added = delta.T if isinstance(base, nn.Embedding) else delta
    copy.weight.data = (copy.weight.double() + added.reshape(copy.weight.shape)).to(copy.weight.dtype)
    return copy


def check_outputs(layers: Mapping[str, nn.Module], deltas: Mapping[str, Tensor], rtol: float = 1e-5) -> None:
    """What comes out of every adapted layer is what W + ΔW gives, with no ΔW what W gives.

    Args:
        rtol: relative to what ΔW alone gives; besides, W + ΔW is rounded to float32.
    """
    found = adapted(layers)
    assert deltas.keys() <= found.keys() and deltas
    with torch.no_grad():
        for name, layer in found.items():
            base, x = layer.base_layer, input_for(layer.base_layer)
            expected = changed(base, deltas[name])(x) if name in deltas else base(x)
            change = float((expected - base(x)).norm())
            assert float((layer(x) - expected).norm()) <= rtol * change + 1e-6 * float(expected.norm()), name


def check_equal_outputs(layers: Mapping[str, nn.Module], others: Mapping[str, nn.Module], rtol: float = 1e-5) -> None:
    """Two models compute the same in every layer that is adapted in either; some are in both."""
    found, expected = adapted(layers), adapted(others)
    assert found.keys() & expected.keys()
    with torch.no_grad():
        for name in found.keys() | expected.keys():
            x = input_for(getattr(layers[name], "base_layer", layers[name]))
            out, theirs = layers[name](x), others[name](x)
            assert float((out - theirs).norm()) <= rtol * float(theirs.norm()), name
