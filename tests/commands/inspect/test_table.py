"""What an inspection prints, word for word, from an entry of `inspect.json` as it is left."""

from __future__ import annotations

import io

from rich.console import Console

from lorafold.commands.inspect.table import one_line, show


def module(name, rank, alpha, norm, used=1, rank_95=1):
    return {"name": name, "rank": rank, "alpha": alpha, "used": used, "rank_95": rank_95, "norm": norm}


ADAPTER = {
    "path": "/a/style.safetensors",
    "bytes": 1296,
    "format": "kohya",
    "base_model": {"name": "SDXL", "evidence": "ss_base_model_version sdxl"},
    "summary": {
        "modules": 3,
        "kinds": {"linear": 2, "conv": 1},
        "ranks": [2, 8],
        "alphas": [1.0, 4.0],
        "dtypes": ["float16", "float32"],
        "parameters": 76_000,
        "other_tensors": 2,
    },
    "trigger_phrase": "w" * 90,
    "tags": [(f"t{i}", 10 - i) for i in range(10)],
    "warnings": ["too [bold]large", "too small"],
    "metadata": {"ss_output_name": "Style", "ss_sd_model_name": "base.ckpt", "modelspec.merged_from": "a, b"},
    "modules": [
        module("lora_te_text_model_encoder_layers_0_mlp_fc1", 8, 4.0, 3.0, 6, 5),
        module("lora_unet_mid_block_attentions_0_proj_in", 2, 1.0, 4.0, 2, 1),
        module("lora_unet_mid_block_attentions_0_proj_out", 4, 1.0, None, None, None),
    ],
}


def shown(content, **options):
    console = Console(file=io.StringIO(), width=80, highlight=False, **options)
    show(content, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_all_that_is_known_line_by_line():
    """A module that is not finite has no norm, and no part in that of the adapter."""
    assert shown(ADAPTER) == [
        "/a/style.safetensors: kohya, SDXL (by ss_base_model_version sdxl)",
        "3 modules (2 linear, 1 conv), rank 2-8, alpha 1-4, float16/float32, 76 k parameters, 1.3 kB, 2 other tensors",
        "title: Style",
        "trained on: base.ckpt",
        f"trigger words: {'w' * 61}...",
        "frequent tags: t0 10, t1 9, t2 8, t3 7, t4 6, t5 5, t6 4, t7 3",
        "merged from: a, b",
        "part          modules  rank  alpha  used  95 %  norm    share",
        "─────────────────────────────────────────────────────────────",
        "text encoder        1     8      4     6     5     3   36.0 %",
        "mid block           2   2-4      1     2     1     4   64.0 %",
        "",
        "total               3   2-8    1-4   2-6   1-5     5  100.0 %",
        "used: numerical rank of the update; 95 %: rank that holds 95 % of its energy,",
        "the squared singular values; norm: ||dW||; share: of the adapter's energy",
        "warning: too [bold]large",
        "warning: too small",
        "",
    ]


def test_what_is_not_known_is_left_out():
    bare = {"base_model": None, "bytes": None, "metadata": {"modelspec.title": "Name"}, "trigger_phrase": None}
    bare |= {"tags": [], "warnings": [], "summary": {**ADAPTER["summary"], "other_tensors": 0}}
    bare["modules"] = [module("a", 2, 1.0, 0.0)]
    lines = shown({**ADAPTER, **bare})
    assert lines[:3] == [
        "/a/style.safetensors: kohya, unknown base model",
        "3 modules (2 linear, 1 conv), rank 2-8, alpha 1-4, float16/float32, 76 k parameters",
        "title: Name",
    ]
    assert lines[5].endswith("  0      -") and lines[-2].startswith("the squared")


def test_one_line_counts_the_warnings():
    assert one_line(ADAPTER).endswith("1.3 kB, 2 other tensors; 2 warnings")
    assert one_line({**ADAPTER, "warnings": ["one"]}).endswith("; 1 warning")
    assert one_line(ADAPTER).startswith("/a/style.safetensors: kohya, SDXL (by ss_base_model_version sdxl); 3 modules")


def test_title_total_and_warnings_stand_out():
    lines = shown(ADAPTER, force_terminal=True, color_system="standard")
    bold = [line for line in lines if line.startswith("\x1b[1m")]
    assert [word in line for word, line in zip(("style.safetensors", "part", "total"), bold, strict=True)] == [True] * 3
    assert [line for line in lines if line.startswith("\x1b[33m")] == [
        "\x1b[33mwarning: too [bold]large\x1b[0m",
        "\x1b[33mwarning: too small\x1b[0m",
    ]
