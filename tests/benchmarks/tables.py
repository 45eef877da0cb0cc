"""The measurements as markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

Json = Mapping[str, Any]
_PACKAGES = ("lorafold", "python", "torch", "safetensors", "peft")
_STAGES = ("read", "gram", "solve", "core", "lift", "write")
# Peak RSS may be so many times the files, and this much for the libraries.
_FILES, _LIBRARIES_MIB = 1.5, 600


def markdown(result: Json) -> str:
    """All tables, with what they mean."""
    parts = [_machine(result["environment"], result["runs"])]
    if result["cases"]:
        parts += [_merges(result["cases"]), _stages(result["cases"]), _rivals(result["cases"])]
    if result["scaling"]:
        parts += [_scaling(result["scaling"])]
    return "\n".join(part for part in parts if part)


def _machine(environment: Json, runs: int) -> str:
    where = environment["gpu"] or environment["cpu"]
    versions = ", ".join(f"{name} {environment[name]}" for name in _PACKAGES)
    return (
        f"{where}, {environment['cpus']} cores, {environment['threads']} threads; {versions}. Medians of {runs} runs, "
        f"each in a fresh process; load average {environment['load_average'][0]:.1f} before, "
        f"{environment['load_average'][1]:.1f} after (cores in use beside this one make times unreliable).\n"
    )


def _merges(cases: Json) -> str:
    header = ("case", "what", "seconds", "min to max", "x floor", "min to max", "at most", "x first objective")
    header = (*header, "peak MiB", "at most", "converged", "iterations")
    rows = [row for name, case in cases.items() for row in _case_rows(name, case)]
    return _table(header, rows) + (
        "\nSeconds of load, merge and save, in-process, after imports and a first small merge. Ratios are medians over "
        f"runs taken in turn. Peak: largest of any run; at most {_FILES} (inputs + output) + {_LIBRARIES_MIB} MiB. "
        "Iterations: mean, largest.\n"
    )


def _case_rows(name: str, case: Json) -> Iterator[Sequence[str]]:
    ranks, size = case["ranks"], case["input_bytes"] / 2**20
    label = f"{len(ranks)} x {ranks[0]}" if len(ranks) > 2 else "+".join(map(str, ranks))
    title = f"{name}: {case['title']}, {case['modules']} modules, ranks {label} to {case['rank']}, {size:.0f} MiB"
    floor = case["floor"]
    yield title, "floor", *_spread(floor["seconds"]), "1", "", "", "", f"{floor['peak_mib']['max']:.0f}", "", "", ""
    first = next(iter(case["lorafold"].values()))["runs"]
    for objective, found in case["lorafold"].items():
        ratio = median(run / base for run, base in zip(found["runs"], first, strict=True))
        target = case["at_most"].get(objective)
        limit = _FILES * (size + found["bytes"] / 2**20) + _LIBRARIES_MIB
        yield (
            "",
            objective,
            *_spread(found["seconds"]),
            *_spread(found["floor_ratio"]),
            f"{target:g}" if target else "",
            _number(ratio),
            f"{found['peak_mib']['max']:.0f}",
            f"{limit:.0f}",
            f"{found['converged']}/{found['modules']}",
            f"{found['iterations']['mean']:.1f}, {found['iterations']['max']}",
        )


def _stages(cases: Json) -> str:
    rows = [
        (name, what, *_stage_cells(found), _number(found["startup"]["median"]))
        for name, case in cases.items()
        for what, found in {"floor": case["floor"], **case["lorafold"]}.items()
    ]
    return _table(("case", "what", *_STAGES, "rest", "start-up"), rows) + (
        "\nSeconds per stage, medians; start-up, the imports and a first small merge, is not in the total.\n"
    )


def _stage_cells(found: Json) -> Iterator[str]:
    stages = found["stages"]
    yield from (_number(stages[stage]) if stage in stages else "" for stage in _STAGES)
    yield _number(max(0.0, found["seconds"]["median"] - sum(stages.values())))


def _rivals(cases: Json) -> str:
    rows = [row for name, case in cases.items() for row in _rival_rows(name, case)]
    if not rows:
        return ""
    objectives = list(dict.fromkeys(objective for case in cases.values() for objective in case["lorafold"]))
    header = ("case", "rival", "seconds", "timed modules", *(f"x {objective}" for objective in objectives), "at least")
    return _table(header, rows) + (
        "\nSeconds are extrapolated: every shape was timed on a sample of its modules and counted as often as it "
        "occurs. They are of arithmetic alone; lorafold's, by which they are divided, have reading and writing, too.\n"
    )


def _rival_rows(name: str, case: Json) -> Iterator[Sequence[str]]:
    for rival, found in case["rivals"].items():
        ratios = [found["seconds"] / merge["seconds"]["median"] for merge in case["lorafold"].values()]
        timed, target = f"{found['sampled_modules']} of {case['modules']}", case["at_least"].get(rival)
        yield name, rival, _number(found["seconds"]), timed, *map(_number, ratios), f"{target:g}" if target else ""


def _scaling(scaling: Json) -> str:
    rows = [row for question, cases in scaling.items() for row in _scaling_rows(question, cases)]
    header = ("scaling in", "modules", "Σ (m+n)", "Σ m n", "floor", "chordal", *_STAGES, "svd_lowrank")
    return _table(header, rows) + "\nSeconds; svd_lowrank extrapolated from a sample.\n"


def _scaling_rows(question: str, cases: Sequence[Json]) -> Iterator[Sequence[str]]:
    for case in cases:
        found = case["lorafold"]["chordal"]
        yield (
            question,
            str(case["modules"]),
            f"{case['widths']:,}",
            f"{case['numbers']:,}",
            _number(case["floor"]["seconds"]["median"]),
            _number(found["seconds"]["median"]),
            *(_number(found["stages"].get(stage, 0.0)) for stage in _STAGES),
            _number(case["rivals"]["svd_lowrank"]["seconds"]),
        )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _spread(values: Json) -> tuple[str, str]:
    return _number(values["median"]), f"{_number(values['min'])} to {_number(values['max'])}"


def _number(value: float) -> str:
    """Three digits, but no more than three decimals."""
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"
