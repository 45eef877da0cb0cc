"""Every command on terminals of 80 and 120 columns and in pipes: the same words and end, and no line too wide."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import lorafold
from lorafold.adapters import save
from lorafold.commands import COMMANDS
from lorafold.common.options import choices
from tests.builders import DEMO, random_adapter
from tests.clients.folders import WORDS, adapter_folders, model_folder
from tests.command_lines import environment
from tests.pipelines.distill.distill_cases import on_disk
from tests.screens import Screen, screen

LONG = "a_rather_long_name_of_a_style_adapter_by_some_author_version_2_epoch_12"
SHAPES = {
    f"lora_unet_{part}_attentions_0_transformer_blocks_0_attn{i}_to_{x}": (24, 16 + 4 * i)
    for part in ("down_blocks_1", "mid_block", "up_blocks_2")
    for i, x in enumerate("qk", 1)
}
PAIR, LONG_PAIR = "adapters=[a.safetensors,b.safetensors]", f"adapters=[{LONG}_1.safetensors,{LONG}_2.safetensors]"

# A tiny model, and adapters of it; the names of the safetensors are those of their inputs.
DISTILL = ["distill", "base=MODEL", "inputs=[a_in.safetensors,b_in.safetensors]", "rank=3", "steps=2"]
# A tiny model of text, an adapter of it, and inputs.
CALIBRATE = ["calibrate", "base=LLM", "inputs=texts.txt"]
LONG_NAMED = ("merge", "compare", "calibrate", "distill", "align", "inspect", "resize", "convert", "extract", "fuse")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, warm) -> Path:
    """Small adapters under short and long names, a run RUN and a sweep DIR."""
    place = tmp_path_factory.mktemp("here")
    for seed, names in enumerate((("a", f"{LONG}_1"), ("b", f"{LONG}_2"), ("c",)), 1):
        for name in names:
            save(random_adapter("kohya", SHAPES, 4, seed=seed), place / f"{name}.safetensors")
    on_disk(place)
    for name, number in (("a", 1), ("b", 2)):
        (place / name).rename(place / f"for_{LONG}_{number}")
    model_folder("llama", place / "LLM")
    adapter_folders("llama", place)[0].rename(place / f"of_{LONG}")
    model = lorafold.fuse(place / "LLM", [place / f"of_{LONG}"])
    model.save(place / f"tuned_{LONG}")
    (place / "texts.txt").write_text("".join(f"{WORDS} {'a ' * i}\n" for i in range(32)), encoding="utf-8")
    assert warm.piped("merge", PAIR, "rank=3", "hydra.run.dir=RUN", cwd=place).returncode == 0
    assert warm.piped("merge", PAIR, "rank=2,3,0", "-m", "hydra.sweep.dir=DIR", "page=false", cwd=place).returncode == 1
    return place


SHORT = ("solver.starts=1", "solver.max_steps=9")
FAMILIES = ("chordal", "geodesic", "spectral")  # by Newton steps, by sweeps, in closed form
GOOD = [
    *([], ["--help"], ["--version"]),
    *([name, "--help"] for name in COMMANDS),
    *(["merge", PAIR, f"objective={name}", "rank=3", "page=false", *SHORT] for name in FAMILIES),
    ["merge", PAIR, "method=balanced", "rank=3"],
    ["merge", PAIR, "method=core_tsv", "rank=3", "page=false"],
    ["merge", LONG_PAIR, "rank=max"],
    ["merge", "adapters=[a.safetensors,b.safetensors,c.safetensors]", "weights=sum", "rank=2"],
    ["merge", PAIR, "rank=2", "solver.start=closed_form", *SHORT],  # does not converge
    ["merge", PAIR, "rank=2", "-m", "objective=chordal,geodesic", "page=false"],
    ["merge", LONG_PAIR, "path=3", "rank=3"],
    ["compare", LONG_PAIR],
    ["compare", "adapters=[a.safetensors,b.safetensors,c.safetensors]"],
    ["compare", "-m", f"{PAIR},[a.safetensors,c.safetensors]", "page=false"],
    [*DISTILL, f"adapters=[for_{LONG}_1,for_{LONG}_2]"],
    [*CALIBRATE, f"adapters=of_{LONG}"],
    ["align", LONG_PAIR],
    ["align", LONG_PAIR, "mode=subspace"],
    ["align", PAIR, "group=general"],
    ["inspect", f"adapters={LONG}_1.safetensors"],
    ["resize", f"adapters={LONG}_1.safetensors", "energy=0.9"],
    ["convert", f"adapters={LONG}_1.safetensors", "format=diffusers"],
    ["extract", "base=LLM", f"tuned=tuned_{LONG}", "rank=2", "biases=true"],
    ["fuse", "base=LLM", f"adapters=of_{LONG}"],
    ["reproduce", "RUN"],
    ["report", "DIR"],
]
WIDE = [  # one of each command
    *(
        next(arguments for arguments in GOOD if arguments[:1] == [name] and LONG in str(arguments))
        for name in LONG_NAMED
    ),
    *GOOD[-2:],
]
WIDE_AND_SLOW = [arguments for arguments in WIDE if arguments[0] in ("calibrate", "distill", "report")]
SLOW = WIDE_AND_SLOW + [
    ["merge", PAIR, f"objective={name}", "rank=3", "page=false", *SHORT]
    for name in choices("objective")
    if name not in FAMILIES
]
BAD = [
    ["mrege"],
    ["merge", "adapters=[nope.safetensors,a.safetensors]"],
    ["merge", "rnak=8"],
    ["merge", "objective=chrodal"],
    ["merge", "core=tie"],
    ["merge", PAIR, "rank=0"],
    ["merge", PAIR, "-m", "rank=0,2"],
    ["compare", "alpha=2"],
    ["distill"],
    [*DISTILL, "adapters=[a.safetensors,b.safetensors]"],
    ["calibrate"],
    [*CALIBRATE, "adapters=a.safetensors"],
    ["align", "group=special"],
    ["inspect", "adapters=nope"],
    ["resize"],
    ["convert", "format=koya"],
    ["extract"],
    ["extract", "base=LLM", "tuned=LLM"],
    ["fuse"],
    ["fuse", "base=LLM", "adapters=a.safetensors"],
    ["reproduce", "nope"],
    ["report", "nope"],
]


def spoken(value: list[str] | int) -> str:
    return " ".join(value).replace(LONG, "LONG") if isinstance(value, list) else str(value)


@pytest.mark.parametrize(
    ("arguments", "status", "columns"),
    [
        *((arguments, 0, 80) for arguments in GOOD),
        *((arguments, 0, 120) for arguments in WIDE if arguments not in WIDE_AND_SLOW),
        *((arguments, 1, 80) for arguments in BAD),
        *(pytest.param(arguments, 0, 120, marks=pytest.mark.slow) for arguments in SLOW),
    ],
    ids=spoken,
)
def test_a_terminal_shows_what_a_pipe_holds_and_no_line_too_wide(warm, folder, arguments, status, columns):
    threads = ["threads=1"] if "merge" in arguments[:1] and "--help" not in arguments else []
    pipe = warm.piped(*arguments, *threads, cwd=folder)
    assert pipe.returncode == status, pipe.stderr
    assert "\x1b" not in pipe.stdout + pipe.stderr and "Traceback" not in pipe.stderr
    assert bool(pipe.stdout) == (status == 0) or "-m" in arguments
    terminal = warm.on_a_terminal(*arguments, *threads, cwd=folder, columns=columns)
    assert terminal.returncode == status
    left = screen(terminal.stdout)
    check(left, columns)
    assert words("\n".join(left.lines)) == words(pipe.stdout + pipe.stderr)


def check(left: Screen, columns: int) -> None:
    """Nothing is left of a bar, and a line is wider than the terminal only if one word is, such as a path."""
    assert not left.cursor_hidden
    assert not any("━" in line for line in left.lines)
    wide = [line for line in left.lines if len(line) > columns]
    assert all(max(map(len, line.split())) > columns - 4 for line in wide), wide


def words(text: str) -> Counter[str]:
    """How often each word occurs; numbers of all runs are alike, and so are rules."""
    return Counter(re.sub(r"[─\d.]+", "#", text).split())


def on_a_terminal(command: list[str], cwd: Path, columns: int) -> tuple[int, str]:
    """The exit status of a new process, and what it wrote."""
    pty = pytest.importorskip("pty")
    import fcntl
    import os
    import struct
    import termios

    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        command, cwd=cwd, env=environment(), stdin=its, stdout=its, stderr=its, start_new_session=True
    ) as child:
        os.close(its)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # on Linux the end of a terminal is an error
            pass
    os.close(ours)
    return child.returncode, written.decode()


def test_the_first_command_of_the_readme(tmp_path):
    """In a process of its own, on the shipped pair: a bar is drawn, and a table is left."""
    command = [sys.executable, "-m", "lorafold", "merge", "objective=chordal", "rank=32"]
    assert " ".join(command[2:]) in (Path(DEMO[0]).parents[2] / "README.md").read_text()
    status, written = on_a_terminal(command, tmp_path, 80)
    assert status == 0, written
    assert "reading" in written and "36/36" in written
    left = screen(written)
    check(left, 80)
    assert left.lines[0].startswith("the demo pair")
    assert left.lines[1].startswith("36 modules, rank 32, chordal")
    assert left.lines[-1].startswith("merged adapter: outputs/merge/")


INTERRUPTED = """
import sys
from lorafold.cli.app import main
from lorafold.pipelines.merge.pipeline import merge as merge_adapters
def stop(*_):
    raise KeyboardInterrupt
sys.modules[merge_adapters.__module__].map_parallel = stop
main()
"""


@pytest.mark.parametrize("how", ["xterm", "dumb"])
def test_ctrl_c_leaves_one_line(warm, folder, how):
    end = warm.on_a_terminal("merge", PAIR, "page=false", cwd=folder, code=INTERRUPTED, TERM=how)
    assert end.returncode == 130
    left = screen(end.stdout)
    check(left, 80)
    assert [line for line in left.lines if line] == [
        "lorafold: interrupted; an output is there as a whole or not at all"
    ]
    assert ("━" in end.stdout) == (how == "xterm")
