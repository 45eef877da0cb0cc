"""nuslerp: mergekit's steps on full matrices, and what it has in common with slerp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from tests.builders import changed, random_adapter
from tests.core_rules.spectral_oracles import slerp
from tests.oracles import relative, updates

SHAPES = {"a": (14, 12), "b": (5, 17)}
WEIGHTS = [[1.0, 1.0], [0.5, 1.5], [0.7, -0.2], [0.0, 1.0]]


def pair() -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, r, seed=r, scale=0.5 * r) for r in (2, 3)]


def arc(first, second, t):
    """Vector by vector along the last dimension."""
    units = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (first, second)]
    theta = np.arccos(np.clip((units[0] * units[1]).sum(-1, keepdims=True), -1, 1))
    return (np.sin((1 - t) * theta) * first + np.sin(t * theta) * second) / np.sin(theta)


def dense(of, weights):
    """Every module by itself."""
    t = abs(weights[1]) / (abs(weights[0]) + abs(weights[1]))
    for name in SHAPES:
        ends = [np.sign(w) * updates(adapter)[name].numpy() for w, adapter in zip(weights, pair(), strict=True)]
        if not all(weights):
            yield name, ends[1]
        elif of == "matrix":
            yield name, arc(*(end.ravel() for end in ends), t).reshape(ends[0].shape)
        else:
            yield name, arc(*ends, t) if of == "rows" else arc(*(end.T for end in ends), t).T


def merged(adapters, weights, of, **settings):
    core = {"name": "nuslerp", "of": of}
    return updates(lorafold.merge(adapters, weights=weights, core=core, **{"rank": "max", **settings}).adapter)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("of", ["matrix", "rows", "columns"])
def test_the_arc_of_every_vector(of, weights):
    found = merged(pair(), weights, of)
    for name, expected in dense(of, weights):
        assert relative(found[name], torch.from_numpy(expected.copy())) < 1e-6


def test_of_the_matrix_it_is_slerp():
    found = merged(pair(), [1.0, 2.0], "matrix")
    for name, delta in found.items():
        expected = slerp([updates(adapter)[name].numpy() for adapter in pair()], [1.0, 2.0])
        assert relative(delta, torch.from_numpy(expected)) < 1e-6


@pytest.mark.parametrize("of", ["matrix", "rows", "columns"])
def test_order_does_not_matter_and_twice_the_same_is_itself(of):
    one, other = pair()
    found, swapped = merged([one, other], [0.3, 0.7], of), merged([other, one], [0.7, 0.3], of)
    same = merged([one, one], [0.3, 0.7], of)
    for name in SHAPES:
        assert relative(swapped[name], found[name]) < 1e-6 and relative(same[name], updates(one)[name]) < 1e-6


def test_rows_of_length_one_keep_it():
    def unit(module):
        return replace(
            module, up=module.up / torch.linalg.vector_norm(module.up @ module.down, dim=1)[:, None], scale=1.0
        )

    for delta in merged([changed(adapter, unit) for adapter in pair()], [0.3, 0.7], "rows").values():
        torch.testing.assert_close(torch.linalg.vector_norm(delta, dim=1), torch.ones(len(delta)).double())


def test_three_adapters_and_unknown_vectors_are_refused():
    with pytest.raises(LorafoldError, match="3 adapters, but core=nuslerp takes 2"):
        lorafold.merge([*pair(), pair()[0]], core="nuslerp")
    with pytest.raises(LorafoldError, match=r"core\.of='row' is unknown\. Choose one of matrix, rows, columns"):
        lorafold.merge(pair(), core={"name": "nuslerp", "of": "row"})
