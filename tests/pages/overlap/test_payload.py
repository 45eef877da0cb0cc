"""Metrics -> what the page shows: columns that fit together, whatever is missing."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from lorafold.pages.overlap import grids as page_grids
from lorafold.pages.overlap.payload import payload
from lorafold.pages.packing import packed, plain
from tests.builders import one_thread as one_thread
from tests.pages.page_samples import NAMES, compared, many, nulls, unpacked

SIDES = ("left", "right")


@pytest.mark.parametrize("ranks", [(2, 3), (2, 3, 4), (2, 3, 4, 1, 5)], ids=len)
def test_every_pair_has_a_value_for_every_module(ranks):
    metrics, grids = compared(*ranks)
    page = payload(metrics, grids)
    assert [tuple(pair["pair"]) for pair in page["pairs"]] == list(combinations(range(len(ranks)), 2))
    for pair in page["pairs"]:
        columns = [
            pair["cosine"],
            *(pair[side][key] for side in SIDES for key in ("phi", "angles", "grids", "random_z", "effect")),
        ]
        assert {len(column) for column in columns} == {len(NAMES)}
        missing = 1 in pair["pair"]  # the second adapter lacks the last module
        assert (pair["left"]["phi"][-1] is None) == (pair["left"]["grids"][-1] is None) == missing


def test_numbers_stand_where_they_belong():
    metrics, grids = compared(2, 3)
    page = payload(metrics, grids)
    (pair,) = page["pairs"]
    for m, module in enumerate(metrics["modules"][:-1]):
        (entry,) = module["pairs"]
        assert page["modules"]["name"][m] == module["name"]
        for side in SIDES:
            assert pair[side]["phi"][m] == pytest.approx(entry[side]["phi"], rel=1e-4)
            assert pair[side]["distances"]["chordal"][m] == pytest.approx(entry[side]["distances"]["chordal"], rel=1e-4)
            angles = np.rad2deg(sorted(entry[side]["angles"]))
            np.testing.assert_allclose(unpacked(pair[side]["angles"][m], 90, "<u2"), angles, atol=90 / 131070 + 1e-9)
            top, *shape, text = pair[side]["grids"][m]
            grid = grids[0, 1][module["name"]][side]
            assert (tuple(shape), top) == (grid.shape, pytest.approx(grid.max(), rel=1e-4))
            np.testing.assert_allclose(unpacked(text, top, "u1").reshape(shape), grid, atol=grid.max() / 500)


def test_blocks_are_in_the_order_of_their_numbers():
    groups = ["text encoder 0", "double block 10", "double block 2", "mid", "double block 0-1", "other", None, "mid"]
    modules = [{"name": str(number), "group": group} for number, group in enumerate(groups)]
    assert payload({"modules": modules}, {})["modules"]["name"] == ["0", "4", "2", "1", "3", "7", "5", "6"]


@pytest.mark.parametrize("key", ["groups", "kinds"])
def test_groups_and_kinds_follow_the_pair(key):
    metrics, grids = compared(2, 3, 4)
    for index, pair in enumerate(payload(metrics, grids)["pairs"]):
        expected = [(part["group"], part["modules"], part["pairs"][index]) for part in metrics["summary"][key]]
        assert [(row["label"], row["modules"]) for row in pair[key]] == [(group, count) for group, count, _ in expected]
        for row, (_, _, part) in zip(pair[key], expected, strict=True):
            assert row["pair"] == pair["pair"] == part["pair"]
            assert row["left"]["phi"] == pytest.approx(part["left"]["phi"], rel=1e-4)


def test_the_merged_adapter_is_named_so():
    page = payload(*compared(2, 3, 4, merged=True))
    assert [(adapter["label"], adapter["name"]) for adapter in page["adapters"]] == [
        ("1", "0/style"),
        ("2", "1/style"),
        ("merged", "merged"),
    ]


@pytest.mark.parametrize("merged", [False, True], ids=["compare", "merge"])
def test_nulls_stay_nulls(merged):
    metrics, _ = compared(2, 3, 4, merged=merged)
    page = payload(nulls(metrics), {})
    assert json.loads(json.dumps(page, allow_nan=False)) == page
    for pair in page["pairs"]:
        for side in SIDES:
            assert set(pair[side]["phi"]) == set(pair[side]["angles"]) == set(pair[side]["grids"]) == {None}
            assert pair[side]["histogram"] is None


def test_what_is_missing_altogether():
    bare = {"inputs": [{}, {}], "modules": [{"name": "a"}], "summary": {"pairs": [{"pair": [0, 1]}]}}
    page = payload(bare, {})
    assert (page["modules"]["name"], page["pairs"][0]["left"]["phi"]) == (["a"], [None])
    assert payload({}, {})["pairs"] == []


def test_impossible_dimensions_have_no_chance_curve():
    metrics, grids = compared(2, 3, names=NAMES[:1])
    metrics["modules"][0]["shape"] = [2, 20]  # l = 3 dimensions of 2
    (pair,) = payload(metrics, grids)["pairs"]
    assert pair["left"]["histogram"] is None
    assert pair["right"]["histogram"]["angles"] == 2


def test_too_many_cells_are_thinned_out():
    metrics, grids = many(20, 32, 64)
    cells = 20 * 2 * 32 * 64
    for limit, step in ((cells, 1), (cells - 1, 2), (cells // 8, 3)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(page_grids, "_CELLS", limit)
            page = payload(metrics, grids)
        top, *shape, text = page["pairs"][0]["left"]["grids"][0]
        kept = grids[0, 1][metrics["modules"][0]["name"]]["left"][31 % step :: step, 63 % step :: step]
        assert (page["step"], shape) == (step, [32, 64])
        np.testing.assert_allclose(unpacked(text, top, "u1").reshape(kept.shape), kept, atol=0.003)


@pytest.mark.parametrize("grid", [None, [], [[]], [0.5]], ids=str)
def test_a_grid_without_cells_is_none(grid):
    assert page_grids.packed_grid(grid, 1) is None


@pytest.mark.parametrize(("dtype", "error"), [("u1", 1 / 510), ("<u2", 1 / 131070)])
def test_packing_rounds_to_the_nearest_level(dtype, error):
    values = np.linspace(0, 3, 1000)
    np.testing.assert_allclose(unpacked(packed(values, 3, dtype), 3, dtype), values, atol=3 * error * (1 + 1e-9))


def test_packing_clips_and_knows_no_nan():
    assert unpacked(packed([-1, np.nan, 2, np.inf], 1, "u1"), 1, "u1").tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (1 / 3, 0.33333),
        (np.float32(2.5), 2.5),
        (np.int64(7), 7),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        ({3: (True, None)}, {"3": [True, None]}),
        (1e-300, 1e-300),
    ],
)
def test_plain_values(value, expected):
    assert plain(value) == expected
