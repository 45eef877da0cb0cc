"""How often a merge misses the best minimum that many starts find, and how far the certified bound is.

    python tests/benchmarks/starts.py 'demo=A,B' 'triple=C,D,E' --ranks 8 16 --random 8 --objectives chordal geodesic

prints, per set, rank and objective: modules above the best known F by more than 1e-6 of it with one start and with the
default ones, CPU seconds of both, and the median and largest certified gap. The best known F is that of all strategies
and of so many random starts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch

import lorafold
from lorafold.objectives import Objective
from lorafold.solvers import SOLVERS, Solution, solver

OBJECTIVES: dict[str, Any] = {"each": {"name": "chordal", "reconstruction": "each"}}
DEFAULT = ("chordal", "phi", "each", "geodesic", "procrustes", "martin")
_SEEN: list[Objective] = []


@solver("recording")
def recording(objective: Objective) -> Solution:
    """Keep the objective for later, and solve it as cheaply as can be."""
    _SEEN.append(objective)
    return SOLVERS["alternating"](objective, tol=1.0, max_sweeps=0)


def objectives(adapters: Sequence[str], rank: int, name: str) -> list[Objective]:
    """Those of all batches of a merge."""
    _SEEN.clear()
    lorafold.merge(adapters, rank=rank, objective=OBJECTIVES.get(name, name), solver="recording")
    return [*_SEEN]


def solved(objective: Objective, starts: int | None) -> tuple[Solution, float]:
    """A solution and its CPU seconds."""
    begin = time.process_time()
    found = SOLVERS["trust_region"](objective, tol=1e-5, max_steps=200, starts=starts)
    return found, time.process_time() - begin


def row(own: Sequence[Objective], random: int) -> str:
    """One line of the table."""
    missed, seconds, gaps, count, saddles = [0, 0], [0.0, 0.0], [], 0, 0
    for objective in own:
        several = [solved(objective, starts) for starts in (1, None)]
        best, _ = solved(objective, 4 + len(objective.left.forms()) + random)
        least = torch.stack([best.value, *(found.value for found, _ in several)]).amin(0)
        for i, (found, spent) in enumerate(several):
            missed[i] += int(((found.value - least) > 1e-6 * least).sum())
            seconds[i] += spent
        last = several[1][0]
        gaps += [] if last.bound is None else ((last.value - last.bound) / last.value).tolist()
        count, saddles = count + len(least), saddles + int((~last.converged).sum())
    known = torch.tensor(gaps)
    spread = "" if bool(known.isnan().any()) else f"{100 * known.median():.2g} % / {100 * known.max():.2g} %"
    return f"{missed[0]:>4} {missed[1]:>7} of {count:<4} {seconds[0]:>6.2f} {seconds[1]:>6.2f} {saddles:>4}  {spread}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", help="NAME=PATH,PATH,...")
    parser.add_argument("--ranks", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--random", type=int, default=8)
    parser.add_argument("--objectives", nargs="+", default=DEFAULT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("set, rank, objective      one default          s one  s all unconverged  gap", flush=True)
    for label, rank, name in cases(given):
        own = objectives(label.partition("=")[2].split(","), rank, name)
        if own[0].rank < min(own[0].targets.shape[-2:]):
            print(f"{label.partition('=')[0]:>8} {rank:>3} {name:<11}", row(own, given.random), flush=True)


def cases(given: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Set, rank and objective."""
    return product(given.sets, given.ranks, given.objectives)


if __name__ == "__main__":
    main()
