"""The closing table: of a real merge of the shipped pair, and of what it does not have, made from its metrics."""

from __future__ import annotations

import io
from copy import deepcopy
from functools import cache

import pytest
from rich.console import Console

from lorafold.commands.merge.table import not_converged, one_line, show
from lorafold.pipelines.merge.table import LEGEND
from tests.demo_pair import run_metrics

SIDES = ("left", "right")


@cache
def merged():
    """Of a run that stops before all of its modules have converged."""
    return run_metrics(rank=4, solver={"name": "trust_region", "max_steps": 5})


def module(name, *, converged=True, phi=(0.5, 0.7), kept=(0.9, 0.6), error=0.25, before=0.1):
    return {
        **deepcopy(merged()["modules"][0]),
        **{side: {"phi": list(phi)} for side in SIDES},
        "name": name,
        "phi_inputs": {"left": before, "right": before},
        "retained": list(kept),
        "reconstruction_error": error,
        "rank": 32,
        "converged": converged,
    }


def metrics(modules, count=2):
    content = deepcopy(merged())
    content.pop("page", None)
    content["modules"] = modules
    paths = [f"/adapters/{'long_folder_name/' * 5}adapter_{i}.safetensors" for i in range(count)]
    content["inputs"] = [{**merged()["inputs"][0], "path": path, "ranks": [8, 16]} for path in paths]
    content["config"] |= {"solver": {"name": "riemannian_adam", "tol": 1e-6, "max_steps": 2000}, "scale": 1.0}
    content["output"]["path"] = "/runs/merged.safetensors"
    content["summary"] |= {
        "modules": len(modules),
        "converged": sum(entry["converged"] for entry in modules),
        "phi": {"left": [0.51] * count, "right": [0.61] * count},
        "phi_inputs": {"left": 0.11, "right": None},
        "retained": [0.81] * count,
        "reconstruction_error": 0.321,
        "seconds": {"total": 1.26},
    }
    return content


def shown(content, width=80):
    console = Console(file=io.StringIO(), width=width)
    show(content, console)
    return console.file.getvalue().splitlines()


LAYERS = [module(f"encoder.layer.{i}.attention.self.{part}") for i in range(6) for part in ("query", "key")]


def row(lines, label):
    (line,) = [line for line in lines if line.startswith(label)]
    return line.removeprefix(label).split()


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_a_real_merge_row_by_row():
    """What is shown of each layer is the mean of what its modules have, and the total that of all."""
    lines, found = shown(merged(), 400), merged()["modules"]
    layers = {f"layer {i}": [entry for entry in found if f"layer.{i}." in entry["name"]] for i in (0, 2, 5)}
    for label, modules in {**layers, "total": found}.items():
        assert row(lines, label) == [
            *(f"{mean(entry['phi_inputs'][side] for entry in modules):.2f}" for side in SIDES),
            *(f"{mean(value for entry in modules for value in entry[side]['phi']):.2f}" for side in SIDES),
            *(f"{mean(entry['retained'][i] for entry in modules):.2f}" for i in (0, 1)),
            f"{mean(entry['reconstruction_error'] for entry in modules):.3f}",
            f"{sum(entry['converged'] for entry in modules)}/{len(modules)}",
        ]
    assert [line.split()[0] for line in lines if line.startswith("#")] == ["#1:", "#2:"]
    assert any(line.startswith(f"strength: {merged()['summary']['scale']:.4g} times") for line in lines)
    failed = sum(not entry["converged"] for entry in found)
    assert 0 < failed < len(found)
    assert any(line.startswith(f"not converged: {failed} of {len(found)} modules") for line in lines)
    assert lines[0].startswith(f"{len(found)} modules, rank 4, chordal, trust_region, ")


def test_rows_are_means_over_modules_and_adapters():
    lines = shown(metrics([module("layer.0.a"), module("layer.0.b", before=0.3, error=0.75, kept=(0.7, 0.2))]))
    assert row(lines, "layer 0") == ["0.20", "0.20", "0.60", "0.60", "0.80", "0.40", "0.500", "2/2"]


def test_the_total_is_that_of_the_summary():
    assert row(shown(metrics(LAYERS)), "total") == ["0.11", "-", "0.51", "0.61", "0.81", "0.81", "0.321", "12/12"]


def test_a_module_that_an_adapter_lacks_is_left_out_of_the_means():
    lines = shown(metrics([module("layer.0.a", phi=(0.4, None), kept=(0.5, None), before=None)]))
    assert row(lines, "layer 0") == ["-", "-", "0.40", "0.40", "0.50", "-", "0.250", "1/1"]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_table_fits_and_paths_stay_whole(width, count):
    flux = [module(f"lora_unet_single_blocks_{i}_linear1", phi=(0.5,) * count, kept=(0.5,) * count) for i in range(38)]
    content = metrics(flux, count)
    lines = shown(content, width)
    assert max(map(len, lines[: lines.index(LEGEND.splitlines()[-1]) + 1])) <= 80
    assert any(line.startswith("single block 36-37") for line in lines)
    assert all(any(entry["path"] in line for line in lines) for entry in content["inputs"])


def test_many_adapters_are_shown_as_a_range():
    seven = (0.1, 0.2, 0.3, None, 0.5, 0.6, 0.75)
    lines = shown(metrics([module("layer.0.a", phi=seven, kept=seven)], 7))
    assert "0.10-0.75" in row(lines, "layer 0")


def test_what_did_not_converge_is_said_with_a_remedy():
    modules = [module(f"layer.{i}.a", converged=i > 3) for i in range(8)]
    line = not_converged(metrics(modules))
    assert line.startswith("not converged: 4 of 8 modules (layer.0.a, layer.1.a, layer.2.a, ...)")
    assert "raise solver.max_steps (now 2000)" in line
    assert any(line in shown_line for shown_line in shown(metrics(modules), 400))


def test_nothing_is_said_when_all_converged():
    assert not_converged(metrics(LAYERS)) == ""
    assert not any("not converged" in line for line in shown(metrics(LAYERS)))


def test_one_line_is_the_total_row_in_words():
    assert one_line(metrics(LAYERS)) == (
        "phi 0.11 - before, 0.51 0.61 after, kept 0.81 0.81, error 0.321, 12/12 converged, 1.3 s"
    )


def test_gains_are_said():
    content = metrics(LAYERS)
    content["inputs"][0]["gain"] = 1.2345
    lines = shown(content, 400)
    assert [line.endswith("(rank 8-16, times 1.23)") for line in lines if line.startswith("#")] == [True, False]


def test_a_rank_that_no_module_needs_is_said():
    content = metrics(LAYERS)
    content["config"]["rank"] = 1000
    lines = shown(content, 400)
    assert lines[0].startswith("12 modules, rank 32, ")
    assert "rank: 32, the adapters' joint rank (rank=1000 would add zeros)" in lines
    for plain in (32, "max"):
        content["config"]["rank"] = plain
        assert not any(line.startswith("rank:") for line in shown(content, 400))


def test_the_page_is_named_where_there_is_one():
    lines = shown(metrics(LAYERS) | {"page": "/runs/overlap.html"})
    assert (lines[-3], lines[-1]) == (
        "overlap before and after: /runs/overlap.html",
        "merged adapter: /runs/merged.safetensors",
    )
    for none in ({}, {"page": None}):
        assert not any("overlap before" in line for line in shown(metrics(LAYERS) | none))


def test_output_is_ascii_where_the_stream_is():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show(metrics(LAYERS), Console(file=stream, width=80))
    stream.flush()
    assert b"merged adapter: /runs/merged.safetensors" in stream.buffer.getvalue()


@pytest.mark.parametrize(
    ("count", "header", "kept"), [(3, "#1   #2   #3", "0.50 0.50 0.50"), (4, "range", "0.50-0.50")]
)
def test_up_to_three_adapters_have_a_column_each(count, header, kept):
    lines = shown(metrics([module("layer.0.a", phi=(0.5,) * count, kept=(0.5,) * count)], count))
    assert any(header in line for line in lines[:4])
    assert kept in next(line for line in lines if line.startswith("layer 0"))
