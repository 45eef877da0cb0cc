"""A panel of other adapters: what all of them share is not found, what the pair alone shares is."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.compare.table import explanation
from tests.builders import Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import update

SHAPES = {f"layer.{i}.q": (40, 30) for i in range(4)}
SIDES = ("left", "right")
KEYS = ("null_k", "null_draws", "null_phi", "null_median", "null_spread", "effect", "p", "p_adjusted")


def adapters(*ranks, first=0):
    return [random_adapter("kohya", SHAPES, rank, seed=seed) for seed, rank in enumerate(ranks, first)]


def planted(adapter, seed, own):
    """The same with two strong directions more, which `seed` determines; mixed by factors that `own` determines."""
    source = Source(own)

    def change(module):
        shared, (m, n) = Source(seed), module.shape
        up, down = 24 * shared.normal(m, 2), shared.normal(2, n)
        return replace(
            module,
            up=torch.cat([module.up, up @ source.conditioned(2, 2, 2.0)], 1),
            down=torch.cat([module.down, source.conditioned(2, 2, 2.0) @ down]),
        )

    return changed(adapter, change)


def sides(metrics, pair=0):
    return [[module["pairs"][pair][side] for module in metrics["modules"]] for side in SIDES]


def column(metrics, key, pair=0):
    return np.array([[entry[key] for entry in side] for side in sides(metrics, pair)], dtype=float)


def leading(adapter, name, side, q):
    delta = update(adapter.modules[name])
    return torch.linalg.svd(delta if side == "left" else delta.T, full_matrices=False)[0][:, :q]


def test_every_number_against_dense_matrices():
    """Of ranks 3 to 6 the three leading directions are compared."""
    family = adapters(4, 6, 3, 5)
    metrics = lorafold.compare(family[:2], panel=family[2:]).metrics()
    assert (len(metrics["inputs"]), len(metrics["panel"])) == (2, 2)
    assert all(module["ranks"] == [4, 6] for module in metrics["modules"])
    for module in metrics["modules"]:
        for side in SIDES:
            frames = [leading(adapter, module["name"], side, 3) for adapter in family]
            own, *draws = (float((X.T @ Y).square().sum()) / 3 for X, Y in combinations(frames, 2))
            found = module["pairs"][0][side]
            assert (found["null_k"], found["null_l"], found["null_draws"]) == (3, 3, 5)
            assert found["null_phi"] == pytest.approx(own, abs=1e-12)
            assert found["null_median"] == pytest.approx(np.median(draws), abs=1e-12)
            assert found["p"] == pytest.approx((1 + sum(draw >= own for draw in draws)) / 6)
            assert found["p_adjusted"] is None  # 5 draws cannot reach 0.05


def test_what_the_pair_alone_shares_is_beyond_chance_and_what_all_share_is_not():
    family = adapters(3, 4, 3, 5, 4, 3, 4)
    alone = [planted(adapter, 0, seed) if seed < 2 else adapter for seed, adapter in enumerate(family)]
    by_all = [planted(adapter, 0, seed) for seed, adapter in enumerate(family)]
    (own,), (base,) = (
        lorafold.compare(each[:2], panel=each[2:]).metrics()["summary"]["pairs"] for each in (alone, by_all)
    )
    for side in SIDES:
        assert (own[side]["beyond_null"], own[side]["decided"]) == (4, 4)
        assert own[side]["effect"] > 5 and own[side]["p"] == pytest.approx(1 / 21)
        assert base[side]["beyond_null"] == 0 and base[side]["decided"] == 4
        assert base[side]["beyond_random"] == 4  # to which random subspaces are blind
    assert own["verdict"].endswith("subspaces shared beyond chance")
    assert "beyond chance" not in base["verdict"]


@pytest.mark.parametrize("rank", [12, 3])
def test_ranks_do_not_decide(rank):
    """Beside a panel of rank 5, of a base that gives all two directions, neither a high nor a low rank stands out."""
    p = []
    for seed in range(12):
        family = [planted(each, seed, i) for i, each in enumerate(adapters(rank, rank, 5, 5, 5, first=10 * seed))]
        p += column(lorafold.compare(family[:2], panel=family[2:]).metrics(), "p").ravel().tolist()
    assert np.mean(p) == pytest.approx(0.55, abs=0.15)


def test_gauge_and_rotated_layers_change_nothing():
    source, family = Source(5), adapters(3, 4, 3, 5)
    rotations = {name: (source.haar(m, m), source.haar(n, n)) for name, (m, n) in SHAPES.items()}

    def turned(module):
        left, right = rotations[module.name]
        G = source.conditioned(module.rank, module.rank, 20.0)
        return replace(module, up=left @ module.up @ G, down=torch.linalg.solve(G, module.down) @ right.T)

    before = lorafold.compare(family[:2], panel=family[2:], alpha=0.2).metrics()
    family = [changed(adapter, turned) for adapter in family]
    after = lorafold.compare(family[:2], panel=family[2:], alpha=0.2).metrics()
    for key in KEYS:
        np.testing.assert_allclose(column(after, key), column(before, key), rtol=1e-7, atol=1e-9)


def test_neither_the_order_of_the_panel_nor_that_of_the_pair_matters():
    a, b, *panel = adapters(3, 4, 3, 5, 4)
    before = lorafold.compare([a, b], panel=panel, alpha=0.2).metrics()
    after = lorafold.compare([b, a], panel=panel[::-1], alpha=0.2).metrics()
    for key in KEYS:
        np.testing.assert_allclose(column(after, key), column(before, key), rtol=1e-9, atol=1e-12)


def test_a_panel_that_lacks_layers_gives_them_fewer_draws():
    a, b, c, d = adapters(3, 4, 3, 5)
    names = list(SHAPES)
    zero = replace(d.modules[names[1]], scale=0.0)
    d = replace(d, modules={names[1]: zero, names[2]: d.modules[names[2]], "of the panel": replace(zero, scale=1.0)})
    metrics = lorafold.compare([a, b], panel=[c, d]).metrics()
    assert [module["name"] for module in metrics["modules"]] == names
    assert column(metrics, "null_draws").tolist() == [[2, 2, 5, 2]] * 2
    assert metrics["summary"]["pairs"][0]["null"]["draws"] == [2, 5]
    assert metrics["summary"]["seconds"].keys() >= {"null"}


def test_a_panel_without_these_layers_is_not_passed_over_in_silence():
    a, b, c = adapters(3, 4, 5)
    dead = changed(c, lambda module: replace(module, scale=0.0))
    summary = lorafold.compare([a, b], panel=[dead]).metrics()["summary"]
    (pair,) = summary["pairs"]
    assert pair["null"]["kind"] is None and pair["reading"][0].startswith("Beyond chance: cannot be decided; the panel")
    assert "the panel has none of the layers" in explanation(summary)[0]


def test_each_of_several_pairs_has_the_panel_to_itself():
    a, b, c, d = adapters(3, 4, 3, 5)
    together = lorafold.compare([a, b, c], panel=[d]).metrics()
    for index, pair in enumerate(combinations([a, b, c], 2)):
        alone = lorafold.compare(list(pair), panel=[d]).metrics()
        for key in ("null_phi", "null_median", "p"):
            np.testing.assert_allclose(column(together, key, index), column(alone, key), rtol=1e-9)


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        ("c.safetensors", "panel='c.safetensors', expected a list"),
        (3, "panel=3, expected a list"),
        (["nope.safetensors"], "nope.safetensors"),
    ],
)
def test_mistakes_are_named(panel, message):
    with pytest.raises(LorafoldError, match=message):
        lorafold.compare(adapters(3, 5), panel=panel)


def test_a_panel_has_no_adapter_of_the_pair_and_none_twice():
    a, b, c = (replace(adapter, path=f"/a/{name}") for adapter, name in zip(adapters(3, 4, 5), "abc", strict=True))
    for panel in ([b], [c, c]):
        with pytest.raises(LorafoldError, match="in the panel, but compared itself, or there twice"):
            lorafold.compare([a, b], panel=panel)


def test_a_panel_of_another_shape_is_refused():
    other = random_adapter("kohya", {name: (40, 20) for name in SHAPES}, 3)
    with pytest.raises(LorafoldError, match="40 x 20"):
        lorafold.compare(adapters(3, 4), panel=[other])
