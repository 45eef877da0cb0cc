"""What a conversion tells, word for word, from metrics as it leaves them."""

from __future__ import annotations

import io

from rich.console import Console

from lorafold.commands.convert.table import one_line, show


def layer(action, before, after):
    names = ([{"name": name} for name in side.split()] for side in (before, after))
    return dict(zip(("action", "before", "after"), (action, *names), strict=True))


CONTENT = {
    "inputs": [{"path": "/a/old.safetensors", "format": "kohya"}],
    "output": {"path": "/run/converted.safetensors", "format": "diffusers"},
    "summary": {
        "modules": [5, 7],
        "actions": {"kept": 1, "renamed": 3, "split": 1, "fused": 0},
        "seconds": {"total": 1.26},
    },
    "modules": [
        layer("split", "qkv", "q k v"),
        layer("kept", "same", "same"),
        *(layer("renamed", f"a{i}", f"b{i}") for i in range(3)),
    ],
}


def test_some_layers_of_each_kind_are_shown():
    console = Console(file=io.StringIO(), width=80, highlight=False, force_terminal=True, color_system="standard")
    show(CONTENT, console)
    assert console.file.getvalue().splitlines() == [
        "\x1b[1mkohya -> diffusers, 5 -> 7 modules, 1 kept, 3 renamed, 1 split, 1.3 s\x1b[0m",
        "renamed: a0 -> b0",
        "renamed: a1 -> b1",
        "split: qkv -> q + k + v",
        "\x1b[2mEvery update is what it was; only its names and factors changed.\x1b[0m",
        "/a/old.safetensors -> /run/converted.safetensors",
    ]


def test_one_line():
    assert one_line(CONTENT) == "kohya -> diffusers, 5 -> 7 modules, 1 kept, 3 renamed, 1 split, 1.3 s"
