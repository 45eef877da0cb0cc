"""The settings of `lorafold ui`, as the command line takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lorafold.commands.help import THREADS, Help
from lorafold.common.settings import DEVICE_HELP, GOES_IN, RUNS, setting


@dataclass(frozen=True)
class UiConfig:
    """`conf/ui.yaml`: what the page begins with, and where it is served."""

    adapters: Any = setting(
        None, "files or folders that the page begins with, by their names alone; null: none", GOES_IN, files=True
    )
    max_size: int = setting(2000, "megabytes that a dropped file may have", GOES_IN)
    port: int | None = setting(None, "of 127.0.0.1; null: the first free one from 7860 on", RUNS)
    browser: bool = setting(False, "true: open the page in the browser", RUNS)
    share: bool = setting(
        False,
        "true: a public address too, through servers of Gradio; whoever has it can merge on this machine",
        RUNS,
    )
    device: str = setting("auto", DEVICE_HELP, RUNS)
    threads: int | None = setting(None, THREADS, RUNS)

    help: ClassVar[Help] = Help(
        "a page to drop adapters on: what they are, how they overlap, and their merge. On this machine alone, and "
        "without telemetry; it needs `pip install 'lorafold[ui]'`.",
        ("", " a.safetensors b.safetensors", " port=8000 browser=true"),
        leaves="Nothing: what is dropped and merged is removed when its page is closed. Ctrl-C ends the server.",
        left_out=("-m", "-cd RUN -cn resolved"),
        first=("adapters", "max_size", "port", "browser", "share", "device"),
    )
