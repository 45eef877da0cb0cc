"""How fast a merge is, beside the floor and beside other tools: one command, a table, a figure and JSON.

    python tests/benchmarks/speed.py                               # everything: an hour or more
    python tests/benchmarks/speed.py --cases sd15,sdxl             # two pairs, with all rivals
    python tests/benchmarks/speed.py --cases llama64 --skip-rivals # dense SVDs of 14336 x 4096 take minutes each
    python tests/benchmarks/speed.py --cases scaling               # cost against modules, m + n, m n and adapters

Writes speed.md, speed.json and speed.png into --out. The adapters are generated (see synthetic.py), once per --data, in
shapes of real models; they are read from the page cache. Every measurement is a process of its own, so that peaks of
memory are its own; floor and lorafold take turns, so that what else the machine does hits both. Run it on an idle one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cases import CASES, DEFAULT_CASES, SCALING
from children import Bench, measure_case
from plots import check_matplotlib, draw
from tables import markdown

_OBJECTIVES = ("chordal", "geodesic", "reconstruction_weight=0", "subspace_weight=0")
_RIVALS = ("PEFT svd", "PEFT ties_svd", "thin SVD", "full_matrices SVD", "svd_lowrank")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, write the three files after every case, and print the table."""
    options = _parser().parse_args(arguments)
    check_matplotlib()
    with TemporaryDirectory(prefix="lorafold-speed-") as scratch:
        data = options.data or Path(scratch)
        data.mkdir(parents=True, exist_ok=True)
        for result in _measure(Bench(data.resolve(), options.device, options.threads, options.runs), options):
            _write(result, options.out)
    print(markdown(result))


def _measure(bench: Bench, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The result so far, after every case."""
    environment = bench.child("environment") | {"command_line": [Path(sys.executable).name, *sys.argv]}
    load = os.getloadavg()[0]
    rivals = () if options.skip_rivals else _RIVALS
    cases: dict[str, Any] = {}
    scaling: dict[str, Any] = {}
    for name in options.cases:
        if name == "scaling":
            scaling = _measure_scaling(bench)
        else:
            cases[name] = measure_case(bench, name, options.objectives, rivals)
        environment["load_average"] = [load, os.getloadavg()[0]]
        yield {"environment": environment, "runs": bench.runs, "cases": cases, "scaling": scaling}


def _write(result: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "speed.md").write_text(markdown(result), encoding="utf-8")
    draw(result, out / "speed.png")


def _measure_scaling(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    return {
        question: [measure_case(bench, name, ("chordal",), ("svd_lowrank",)) for name in names]
        for question, names in SCALING.items()
    }


def _parser() -> argparse.ArgumentParser:
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text, allow_abbrev=False)
    every = (*DEFAULT_CASES, "scaling")
    parser.add_argument("--cases", type=_one_of(*CASES, "scaling"), default=every, help=f"default {','.join(every)}")
    parser.add_argument("--objectives", type=_names, default=_OBJECTIVES, help=f"default {','.join(_OBJECTIVES)}")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--runs", type=int, default=5, help="of every measurement; medians are reported (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (default 2)")
    parser.add_argument("--data", type=Path, help="keep the generated adapters here (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=Path("outputs/speed"), help="default outputs/speed")
    parser.add_argument("--skip-rivals", action="store_true")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _one_of(*known: str) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        for name in _names(text):
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is unknown; choose from {', '.join(known)}")
        return _names(text)

    return parse


if __name__ == "__main__":
    main()
