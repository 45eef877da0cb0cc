"""The closing table of a change of rank, word for word, from metrics as it leaves them."""

from __future__ import annotations

import io

from rich.console import Console

from lorafold.commands.resize.table import one_line, show


def module(name, before, rank, norm, retained, shape=(30, 20)):
    return {"name": name, "shape": list(shape), "ranks": [before], "rank": rank, "norm": norm, "retained": retained}


def metrics(**config):
    return {
        "config": {"rank": None, "energy": None, "ratio": None, "parameters": None, **config},
        "inputs": [{"path": "/a/old.safetensors"}],
        "output": {"path": "/run/resized.safetensors"},
        "summary": {
            "modules": 3,
            "ranks": [2, 4],
            "parameters": [1200, 450],
            "retained": 0.9123,
            "error": 0.04,
            "seconds": {"total": 1.26},
        },
        "modules": [
            module("lora_te_text_model_encoder_layers_0_mlp_fc1", 8, 4, 3.0, 1.0),
            module("lora_unet_mid_block_attentions_0_proj_in", 8, 2, 1.0, 0.5),
            module("lora_unet_mid_block_attentions_0_proj_out", 6, 1, 2.0, 0.75, (10, 10)),
        ],
    }


def shown(content, **options):
    console = Console(file=io.StringIO(), width=80, highlight=False, **options)
    show(content, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_rows_are_of_all_modules_of_a_part_as_one_matrix():
    """Mid block: 2 · 50 + 1 · 20 of 8 · 50 + 6 · 20 parameters, and (0.5 · 1² + 0.75 · 2²) / 5 of the energy."""
    assert shown(metrics(energy=0.9, rank=4)) == [
        "3 modules, energy=0.9, rank=4, 1.2 k -> 450 parameters, 1.3 s",
        "part          modules  rank before  after  mean  parameters    kept",
        "───────────────────────────────────────────────────────────────────",
        "text encoder        1            8      4   4.0        50 %   100 %",
        "mid block           2          6-8    1-2   1.5      23.1 %    70 %",
        "",
        "total               3          6-8    1-4   2.3      34.8 %  89.3 %",
        "kept: share of the squared singular values; no update of that rank is closer.",
        "The updates changed by 20 % of their norm, rounding included.",
        "/a/old.safetensors -> /run/resized.safetensors",
    ]


def test_nothing_is_said_of_what_is_not_known():
    content = metrics(ratio=2)
    content["summary"] |= {"error": None, "retained": None}
    for entry in content["modules"]:
        entry |= {"norm": 0.0, "retained": None}
    lines = shown(content)
    assert lines[0].startswith("3 modules, ratio=2, ")
    assert lines[6].endswith(" -") and not any("changed" in line for line in lines)


def test_one_line_is_the_total_row_in_words():
    assert one_line(metrics()) == "rank 2-4, 1.2 k -> 450 parameters, kept 91.2 %, 1.3 s"


def test_title_and_total_stand_out():
    lines = shown(metrics(parameters=0.5), force_terminal=True, color_system="standard")
    bold = [line for line in lines if line.startswith("\x1b[1m")]
    assert [word in line for word, line in zip(("parameters=0.5", "part", "total"), bold, strict=True)] == [True] * 3
