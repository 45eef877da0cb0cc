"""The closing table of a comparison, and its rows for spreadsheets, from metrics alone."""

from __future__ import annotations

import csv
import io
import math

import pytest
from rich.console import Console

import lorafold
from lorafold.commands.compare.csv import write_modules
from lorafold.commands.compare.table import one_line, show
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter

NAMES = [f"lora_unet_{block}_attentions_0_to_{part}" for block in ("down_blocks_0", "mid_block") for part in "qkv"]


def metrics(*ranks, shape=(16, 12), names=NAMES):
    shapes = dict.fromkeys(names, shape)
    adapters = [random_adapter("kohya", shapes, rank, seed=i, path=f"/a/{i}.pt") for i, rank in enumerate(ranks)]
    content = lorafold.compare(adapters).metrics()
    content["summary"]["seconds"]["total"] = 1.26
    return {"command": "compare", "config": {"distances": ["chordal", "geodesic"]}, **content}


def shown(content, width=80):
    console = Console(file=io.StringIO(), width=width)
    show(content, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def row(lines, label):
    (line,) = [line for line in lines if line.startswith(label)]
    return line.removeprefix(label).split()


def test_a_pair_has_a_row_per_part_and_its_reading():
    content = metrics(2, 3)
    lines = shown(content)
    (pair,) = content["summary"]["pairs"]
    assert lines[0] == "6 modules of 2 adapters, 1.3 s"
    phis = [f"{pair[side]['null_phi']:.3f} ({pair[side]['null_median']:.3f})".split() for side in ("left", "right")]
    assert row(lines, "total")[:4] == [*phis[0], *phis[1]]
    assert row(lines, "total")[-2:] == ["0", f"{pair['cosine']:+.4f}"]
    assert "(mismatched)   (mismatched)" in lines[2]
    text = " ".join(lines)
    assert "In brackets: median of 5 mismatched layers; phi of 2 to 3 directions." in text
    assert "cannot be decided with n = 5: p >= 0.17 > alpha 0.05; it takes 20 layers of one shape" in text
    assert all(sentence in text for sentence in pair["reading"][-3:])


def test_rows_sum_up_what_their_modules_have():
    content = metrics(2, 3)
    for module, p in zip(content["modules"], (0.0, 0.01, 0.05, None, 0.06, 1.0), strict=True):
        module["pairs"][0]["left"]["p_adjusted"] = p
    lines = shown(content)
    assert row(lines, "down block 0")[4] == "3"
    assert row(lines, "mid block")[4] == "0"
    inner = sum(m["pairs"][0]["cosine"] * math.prod(m["norms"]) for m in content["modules"][:3])
    sizes = [math.sqrt(sum(m["norms"][i] ** 2 for m in content["modules"][:3])) for i in (0, 1)]
    assert float(row(lines, "down block 0")[7]) == pytest.approx(inner / math.prod(sizes), abs=5e-5)


@pytest.mark.parametrize(("alpha", "count"), [(0.005, "1"), (0.05, "3"), (0.2, "4")])
def test_what_is_beyond_chance_depends_on_the_level_asked_for(alpha, count):
    content = metrics(2, 3)
    content["summary"]["alpha"] = alpha
    for module, p in zip(content["modules"], (0.0, 0.01, 0.05, 0.06, 0.5, 1.0), strict=True):
        module["pairs"][0]["left"]["p_adjusted"] = p
    counts = [int(row(shown(content), label)[4]) for label in ("down block 0", "mid block")]
    assert str(sum(counts)) == count


def test_several_adapters_have_a_row_per_pair():
    content = metrics(2, 3, 4)
    lines = shown(content)
    assert row(lines, "#1 #3")[1] == f"({content['summary']['pairs'][1]['left']['null_median']:.3f})"
    assert [line for line in lines if line.startswith("#3:")] == ["#3: /a/2.pt (rank 4)"]
    assert any(line.startswith("|cosine| < 0.05: practically independent") for line in lines)


def with_panel(*panel, alpha=0.05):
    shapes = dict.fromkeys(NAMES, (16, 12))
    pair, others = (
        [random_adapter("kohya", shapes, 2, seed=i, path=f"/a/{i}.pt") for i in own] for own in ((0, 1), panel)
    )
    content = lorafold.compare(pair, panel=others, alpha=alpha).metrics()
    content["summary"]["seconds"]["total"] = 1.0
    return content


def test_beyond_chance_is_said_of_a_panel_alone():
    text = " ".join(shown(metrics(2, 3)))
    assert "above mismatched" in text and "beyond chance" not in text.lower()
    lines = shown(with_panel(2, 3, 4, 5, 6))
    assert "beyond chance" in lines[1] and "(panel)" in lines[2]
    assert row(lines, "total")[-2] == "6"
    assert any(line.startswith("In brackets: median of 20 other pairs with the panel; phi of 2") for line in lines)


def test_too_few_in_a_panel_decide_nothing():
    lines = shown(with_panel(2))
    assert row(lines, "total")[4:7] == ["-", "-", "0"]
    text = " ".join(lines)
    assert "Beyond chance: cannot be decided with n = 2: p >= 0.33 > alpha 0.05; it takes 5 in the panel." in text


def test_a_mark_for_what_is_beyond_chance():
    content = metrics(2, 3, 4)
    for pair in content["summary"]["pairs"]:
        pair["null"] |= {"kind": "panel", "draws": [20, 20]}
        pair["left"] |= {"decided": 6, "beyond_null": int(pair["pair"] == [0, 2])}
    lines = shown(content)
    assert [row(lines, name)[1].endswith(")+") for name in ("#1 #2", "#1 #3", "#2 #3")] == [False, True, False]
    assert any(line.startswith("+ beyond chance") for line in lines)
    assert not any("cannot be decided" in line for line in lines)


def test_an_adapter_of_several_ranks_has_their_range():
    content = metrics(2, 3)
    content["inputs"][0]["ranks"] = [2, 4, 16]
    assert [line for line in shown(content) if line.startswith("#")] == [
        "#1: /a/0.pt (rank 2-16)",
        "#2: /a/1.pt (rank 3)",
    ]


def test_a_sign_that_may_be_chance_has_a_question_mark_and_a_seed_in_common_with_a_star():
    content = metrics(2, 3, 4)
    first, second, _ = content["summary"]["pairs"]
    first |= {"cosine": -0.06, "cosine_shared_sd": 0.05}
    second["shared_initialisation"]["detected"] = True
    lines = shown(content)
    assert row(lines, "#1 #2")[-2:] == ["slightly", "opposing?"]
    assert row(lines, "#1 #3")[-1].endswith("*")
    assert any(line.startswith("* row spaces") for line in lines)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_it_fits_a_terminal(count):
    names = [f"lora_unet_single_blocks_{i}_linear1" for i in range(38)]
    lines = shown(metrics(*[2] * count, names=names))
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 26
    assert ("... and 11 more pairs in metrics.json" in lines) == (count == 7)


def test_what_is_not_defined_is_a_dash():
    content = metrics(2, 3, names=NAMES[:1])
    first, second = (random_adapter("kohya", {name: (16, 12)}, 2) for name in "ab")
    content |= lorafold.compare([first, second]).metrics()
    content["summary"]["seconds"]["total"] = 1.0
    lines = shown(content)
    assert row(lines, "total") == ["-", "-", "-", "-", "0", "+0.0000"]
    assert any("No module is changed by both" in line for line in lines)


def test_one_line():
    line = one_line(metrics(2, 3))
    assert line.startswith("#1 #2 phi 0.")
    assert line.endswith("practically independent; 1.3 s")


def test_output_is_ascii_where_the_stream_is():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show(metrics(2, 3), Console(file=stream, width=80))
    stream.flush()
    assert b"total" in stream.buffer.getvalue()


def test_a_spreadsheet_has_a_row_per_module_and_pair(tmp_path):
    content = metrics(2, 3, 4)
    write_modules(tmp_path / "modules.csv", content)
    with (tmp_path / "modules.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["name"], row["first"], row["second"]) for row in rows[:4]] == [
        *((NAMES[0], first, second) for first, second in (("1", "2"), ("1", "3"), ("2", "3"))),
        (NAMES[1], "1", "2"),
    ]
    entry = content["modules"][0]["pairs"][1]
    assert (rows[1]["m"], rows[1]["n"], rows[1]["kind"]) == ("16", "12", "attention q")
    assert float(rows[1]["right_phi"]) == entry["right"]["phi"]
    assert float(rows[1]["left_effect"]) == entry["left"]["effect"]
    assert float(rows[1]["left_geodesic"]) == entry["left"]["distances"]["geodesic"]
    assert float(rows[1]["cosine"]) == entry["cosine"]
