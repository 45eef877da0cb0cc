"""Which one-line changes to the code no test notices: a seeded random sample, one table, and JSON.

    python tests/benchmarks/mutation.py --map                    # once: which test executes which line (a whole run)
    python tests/benchmarks/mutation.py --count 200              # 200 changes, spread in proportion to lines
    python tests/benchmarks/mutation.py --count 60 --paths solvers,merge
    python tests/benchmarks/mutation.py --count 60 --skip pages/drawing
    python tests/benchmarks/mutation.py --map tests/test_new.py  # learn of new tests, then try the survivors again:
    python tests/benchmarks/mutation.py --count 200 --again

Changes are made in a copy of the checkout under --home, so that the checkout may be edited meanwhile (`--map` copies it
again). One process, at the lowest priority, forks for each change and runs the tests that execute the changed line: the
file that mirrors it first, then the fastest of every other file, the next fastest of every file, and so on, at most
--tests of them and --seconds, until one fails; and those that are named after the file, as they read it. A line that
only an import executes counts as executed by what executes the rest of its file, or by what executes files that import
it.

Needs the extra `benchmark` (coverage). On two idle cores a map takes some ten minutes and a change some five seconds.
Every answer is kept in results.jsonl as it comes: stopped and started again, the command goes on where it was.
Survivors are to be read, not only counted: some change nothing that can be observed, or only speed or the wording of a
message.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Any

from mutation_operators import Mutant, mutants
from mutation_runs import Copy, Map, forked, preload, pytest_in

_ROOT = Path(__file__).resolve().parents[2]
_COLUMNS = ("killed", "survived", "not covered")


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn which test executes which line, or try changes and print the table."""
    options = _parser().parse_args(arguments)
    options.home.mkdir(parents=True, exist_ok=True)
    copy = Copy(_ROOT, options.home.resolve())
    copy.restore()
    preload()
    if options.map is not None:
        copy.refresh()
        Map(copy).measure(options.map)
        return
    chosen = sample(copy, options.seed, options.count, options.paths, options.skip)
    answers = _answers(copy, chosen, options)
    (copy.home / "results.json").write_text(json.dumps(answers, indent=1))
    print(table(answers))


def sample(copy: Copy, seed: int, count: int, paths: Sequence[str], skip: Sequence[str] = ()) -> list[Mutant]:
    """`count` lines at random of all that can be changed, and one change of each; a larger sample extends a smaller."""
    lines: dict[tuple[str, int], list[Mutant]] = defaultdict(list)
    files = (file for file in copy.sources() if not paths or any(path in file for path in paths))
    sources = {file: (copy.folder / file).read_bytes() for file in files if not any(path in file for path in skip)}
    for file, source in sources.items():
        for mutant in mutants(file, source):
            lines[file, mutant.line].append(mutant)
    order = sorted(lines)
    random.Random(seed).shuffle(order)
    drawn = (_one_of(lines[line], sources[line[0]], random.Random(f"{seed} {line}")) for line in order)
    return [*islice(filter(None, drawn), count)]


def _one_of(choices: Sequence[Mutant], source: bytes, draw: random.Random) -> Mutant | None:
    """A change of some kind, the kinds equally likely, that still compiles."""
    kinds = sorted({mutant.kind for mutant in choices})
    draw.shuffle(kinds)
    for kind in kinds:
        of_kind = [mutant for mutant in choices if mutant.kind == kind]
        for mutant in draw.sample(of_kind, len(of_kind)):
            if mutant.compiles(source):
                return mutant
    return None


def _answers(copy: Copy, chosen: Sequence[Mutant], options: argparse.Namespace) -> list[dict[str, Any]]:
    store, cases = copy.home / "results.jsonl", Map(copy)
    known = (
        {entry["mutant"]: entry for entry in map(json.loads, store.read_text().splitlines())} if store.exists() else {}
    )
    with store.open("a") as lines:
        for position, mutant in enumerate(chosen):
            entry = known.get(mutant.label)
            if entry is None or (options.again and entry["answer"] != "killed"):
                entry = known[mutant.label] = _tried(copy, cases, mutant, options.tests, options.seconds)
                lines.write(json.dumps(entry) + "\n")
                lines.flush()
                print(
                    f"{position + 1}/{len(chosen)} {entry['answer']} {entry['seconds']:.0f} s  {mutant.label}",
                    flush=True,
                )
    return [known[mutant.label] for mutant in chosen]


def _tried(copy: Copy, cases: Map, mutant: Mutant, most: int, seconds: float) -> dict[str, Any]:
    """What the tests say of one change."""
    covering = _covering(copy, cases, mutant)
    ends = accumulate(cases.seconds[case] for case in covering[:most])
    tests = [case for case, end in zip(covering, ends, strict=False) if end <= seconds] or covering[:1]
    name = mutant.file.partition("/")[2]
    tests += [case for case in cases.seconds if covering and case.endswith(f"[{name}]")]  # cases that read the file
    entry = {"mutant": mutant.label, "area": area(mutant.file), "covering": len(covering), "tests": len(tests)}
    if not tests:
        return {**entry, "answer": "not covered", "seconds": 0.0}
    original, begun = (copy.folder / mutant.file).read_bytes(), perf_counter()
    limit = 60 + int(10 * sum(cases.seconds[case] for case in tests))
    log = copy.home / "mutant.log"
    with copy.changed(mutant.file, mutant.apply(original)):
        status = forked(partial(pytest_in, copy, ["-x", *tests]), limit, log)
    said = log.read_text(errors="replace")
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)", said, re.MULTILINE)
    if "ERROR: not found: " in said and not failed:
        raise SystemExit(f"the map names tests that are gone, see {log}: run --map once more")
    answer = "survived" if status == 0 else "killed"
    return {**entry, "answer": answer, "status": status, "by": failed[:1], "seconds": perf_counter() - begun}


def _covering(copy: Copy, cases: Map, mutant: Mutant) -> list[str]:
    """The cases that execute the line, in the order in which to run them."""
    lines = cases.lines(mutant.file)
    counting = _executing((copy.folder / mutant.file).read_text(), mutant.line)
    names = {case for line, covering in lines.items() if line in counting for case in covering}
    if not names:
        word = re.compile(rf"import.*\b{PurePosixPath(mutant.file).stem}\b|\b{PurePosixPath(mutant.file).stem} import")
        users = (file for file in copy.sources() if word.search((copy.folder / file).read_text()))
        names.update(*(case for user in users for case in cases.lines(user).values()))
    first = _fastest_first(names, mutant.file, cases)
    folder = PurePosixPath(mutant.file).parent.name  # what a cache keeps from being executed once more is tested there
    beside = {case for case in cases.seconds if _folder(case) == folder} - names
    return first + _fastest_first(beside, mutant.file, cases)


def _fastest_first(names: Iterable[str], file: str, cases: Map) -> list[str]:
    """Those of the file that mirrors this one ahead, then one of every file, then a second of every file, and so on.

    A change that one case of a file does not notice, its next may not notice either; a function's n-th case costs n
    times.
    """
    functions: dict[str, list[str]] = defaultdict(list)
    for case in sorted(names, key=cases.seconds.__getitem__):
        functions[case.partition("[")[0]].append(case)
    cost = {case: n * cases.seconds[case] for them in functions.values() for n, case in enumerate(them, 1)}
    files: dict[str, int] = defaultdict(int)
    place: dict[str, int] = {}
    for case in sorted(cost, key=cost.__getitem__):
        of = case.partition("::")[0]
        files[of] += 1
        place[case] = files[of]
    folder = PurePosixPath(file).parent.name
    return sorted(cost, key=lambda case: (not _mirrors(file, case), place[case], _folder(case) != folder, cost[case]))


def _folder(case: str) -> str:
    return PurePosixPath(case.partition("::")[0]).parent.name


def _executing(source: str, line: int) -> range:
    """The lines whose execution tests this one: itself in a function's body, the body for its head, all otherwise."""
    for node in reversed([*ast.walk(ast.parse(source))]):  # the innermost first
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0):
            first = node.body[0].lineno
            return range(line, line + 1) if line >= first else range(first, (node.end_lineno or first) + 1)
    return range(1, source.count("\n") + 2)


def _mirrors(file: str, case: str) -> bool:
    return PurePosixPath(case.partition("::")[0]).stem == f"test_{PurePosixPath(file).stem.strip('_')}"


def area(file: str) -> str:
    return PurePosixPath(file).parent.as_posix()


def table(answers: Sequence[dict[str, Any]]) -> str:
    """A row for each folder, then what was not noticed."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * len(_COLUMNS))
    for entry in answers:
        for row in (entry["area"], "all"):
            counts[row][_COLUMNS.index(entry["answer"])] += 1
    lines = [f"{'area':32s} {' '.join(f'{name:>11s}' for name in _COLUMNS)}     noticed"]
    for row, numbers in sorted(counts.items(), key=lambda pair: (pair[0] == "all", pair[0])):
        lines.append(f"{row:32s} {' '.join(f'{n:11d}' for n in numbers)} {100 * numbers[0] / sum(numbers):9.0f} %")
    return "\n".join([*lines, "", *_unnoticed(answers)])


def _unnoticed(answers: Sequence[dict[str, Any]]) -> Iterator[str]:
    for entry in answers:
        if entry["answer"] != "killed":
            yield f"{entry['answer']} ({entry['tests']} of {entry['covering']} cases)  {entry['mutant']}"
    seconds = sorted(entry["seconds"] for entry in answers if entry["tests"])
    if seconds:
        median = seconds[len(seconds) // 2]
        yield f"\n{len(seconds)} runs, {sum(seconds):.0f} s; median {median:.1f} s, longest {seconds[-1]:.0f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--home", type=Path, default=_ROOT / "outputs" / "mutation", help="for the copy and the answers"
    )
    parser.add_argument("--map", nargs="*", metavar="TEST", help="run these test files under coverage; all without any")
    parser.add_argument("--count", type=int, default=200, help="of changes (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    for option, chosen in (("--paths", "files of these"), ("--skip", "none of these")):
        words = f"{chosen} parts of file names, with commas"
        parser.add_argument(option, type=lambda text: text.split(","), default=[], help=words)
    parser.add_argument("--tests", type=int, default=150, help="cases for each change at most (default 150)")
    parser.add_argument("--seconds", type=float, default=60, help="that these take at most, as in the map (default 60)")
    parser.add_argument("--again", action="store_true", help="try once more what was not noticed")
    return parser


if __name__ == "__main__":
    main()
