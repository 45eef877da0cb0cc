"""The closing table of an alignment, word for word, from metrics as an alignment leaves them."""

from __future__ import annotations

import io

from rich.console import Console

from lorafold.commands.align.table import not_converged, one_line, show


def pair(other, **of):
    return {"pair": [0, other], "norm": 5.0, **of}


def gauge(other, before, after, converged=2, **of):
    errors = {"averaging_error": {"files": before, "orthogonal": (before + after) / 2, "general": after}}
    found = {"gradient": 3e-5, "steps": 7, "condition": 4.5, **of}
    return pair(other, **errors, mismatch=2.0, converged=converged, modules=2, **found)


def subspace(other, before, after):
    return pair(other, distance={"before": before, "after": after}, phi={"left": 0.25, "right": None}, raised=0)


def metrics(pairs, *, mode="gauge", group="general", modules=(), change=(0.0, 1e-16)):
    count = max(found["pair"][1] for found in pairs) + 1
    return {
        "config": {"mode": mode, "group": group},
        "inputs": [{"path": f"/a/{number}.safetensors"} for number in range(1, count + 1)],
        "outputs": [{"path": f"/run/aligned_{number}.safetensors"} for number in range(1, count + 1)],
        "summary": {"modules": 2, "change": list(change), "pairs": pairs, "seconds": {"total": 1.26}},
        "modules": list(modules),
    }


def shown(content, **options):
    console = Console(file=io.StringIO(), width=80, highlight=False, **options)
    show(content, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


LAYERS = [
    {"name": "lora_te_text_model_encoder_layers_0_mlp_fc1", "pairs": [{**gauge(1, 0.5, 0.1), "norm": 3.0}]},
    {"name": "lora_unet_mid_block_attentions_0_proj_in", "pairs": [{**gauge(1, 0.7, 0.3), "norm": 1.0}]},
    {"name": "lora_unet_mid_block_attentions_0_proj_out", "pairs": [{**gauge(1, 0.9, 0.1), "norm": 2.0}]},
]


def test_two_adapters_have_a_row_for_each_part():
    """The mid block: √((0.7² + (2 · 0.9)²) / 5) = 0.8637, and as much of the other columns."""
    content = metrics([gauge(1, 0.8, 0.2)], modules=LAYERS)
    content["outputs"][0]["path"] = "/a/1.safetensors"
    assert shown(content) == [
        "2 modules of 2 adapters, gauge of the general group, 1.3 s",
        "part           files  orthogonal  general",
        "─────────────────────────────────────────",
        "text encoder  0.5000      0.3000   0.1000",
        "mid block     0.8637      0.5000   0.1612",
        "",
        "total         0.8000      0.5000   0.2000",
        "Relative error of averaging up and down factors of #1 with those of the other",
        "one instead of updates: with its file, and with aligned_2, ...",
        "The updates are the same: they changed by 1e-16 of themselves at most.",
        "2/2 modules converged, in 7 steps or fewer; condition of G <= 4.5.",
        "#1: /a/1.safetensors stays as it is",
        "#2: /a/2.safetensors -> /run/aligned_2.safetensors",
    ]


def test_more_adapters_have_a_row_for_each_pair_up_to_five():
    pairs = [gauge(other, 0.1 * other, 0.05) for other in range(1, 7)]
    lines = shown(metrics(pairs, change=[0.0] * 7))
    assert lines[1:8] == [
        "pair    files  orthogonal  general",
        "──────────────────────────────────",
        *(f"#1 #{i + 1}  {0.1 * i:.4f}      {(0.1 * i + 0.05) / 2:.4f}   0.0500" for i in range(1, 6)),
    ]
    assert lines[11] == "12/12 modules converged, in 7 steps or fewer; condition of G <= 4.5."
    assert lines[12] == "#1: /a/1.safetensors -> /run/aligned_1.safetensors (the same factors, zero-padded)"
    assert (lines[15], lines[16:]) == (
        "#4: /a/4.safetensors -> /run/aligned_4.safetensors",
        ["... and 3 more in metrics.json"],
    )


def test_subspaces_have_their_overlap_and_distance():
    pairs = [subspace(1, 0.8, 0.25), subspace(2, None, 0.5)]
    assert shown(metrics(pairs, mode="subspace", change=[0.0, 0.123, 0.5]))[:7] == [
        "2 modules of 3 adapters, mode subspace, 1.3 s",
        "pair   phi left  phi right  distance before   after",
        "───────────────────────────────────────────────────",
        "#1 #2    0.2500          -           0.8000  0.2500",
        "#1 #3    0.2500          -                -  0.5000",
        "distance: ||dW - dW_1|| / ||dW_1||. Subspaces, and with them phi, stay;",
        "the updates changed: #2 by 12.3 %, #3 by 50.0 % of themselves.",
    ]


def test_parts_of_a_subspace_alignment_have_means_of_their_overlaps():
    layers = [{**layer, "pairs": [{**subspace(1, 0.8, 0.2), "norm": 1.0}]} for layer in LAYERS]
    layers[1]["pairs"][0]["phi"] = {"left": 0.75, "right": 0.5}
    lines = shown(metrics([subspace(1, 0.8, 0.25)], mode="subspace", modules=layers))
    assert lines[4].split() == ["mid", "block", "0.5000", "0.5000", "0.8000", "0.2000"]


def test_what_did_not_converge_is_said():
    content = metrics([gauge(1, 0.8, 0.2, converged=1), gauge(2, 0.8, 0.2, gradient=2e-3, steps=9, condition=7.0)])
    assert not_converged(content) == "not converged: 1 of 4 modules, relative gradient up to 2e-03"
    lines = shown(content)
    assert not_converged(content) in lines
    assert "3/4 modules converged, in 9 steps or fewer; condition of G <= 7." in lines
    assert not_converged(metrics([gauge(1, 0.8, 0.2)])) == ""
    assert not_converged(metrics([subspace(1, 0.8, 0.2)], mode="subspace")) == ""


def test_the_orthogonal_gauge_has_a_closed_form():
    lines = shown(metrics([gauge(1, 0.8, 0.2)], group="orthogonal", modules=LAYERS))
    assert not any("steps" in line for line in lines)


def test_one_line_is_the_pairs_in_words():
    assert one_line(metrics([gauge(1, 0.8, 0.2)])) == "#1 #2 averaging error 0.8000 -> 0.5000 -> 0.2000; 1.3 s"
    pairs = [subspace(1, 0.8, 0.25), subspace(2, 0.5, 0.25)]
    words = "#1 #2 distance 0.8000 -> 0.2500; #1 #3 distance 0.5000 -> 0.2500; 1.3 s"
    assert one_line(metrics(pairs, mode="subspace")) == words


def test_title_and_total_stand_out():
    content = metrics([gauge(1, 0.8, 0.2, converged=1)], modules=LAYERS)
    lines = shown(content, force_terminal=True, color_system="standard")
    bold = [line for line in lines if line.startswith("\x1b[1m")]
    assert [word in line for word, line in zip(("2 modules", "part", "total"), bold, strict=True)] == [True] * 3
    assert [line for line in lines if line.startswith("\x1b[33m")] == [f"\x1b[33m{not_converged(content)}\x1b[0m"]
