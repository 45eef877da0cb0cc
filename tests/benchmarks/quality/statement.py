"""What is stated of the trained adapters, in recipes.json and in a table of docs/quality.md, and how others compare."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from quality import prompts, texts
from quality.rebuild import read, write

STATED = Path(__file__).with_name("recipes.json")
DOCUMENT = Path(__file__).parents[3] / "docs" / "quality.md"
_KEPT = ("recipe", "examples", "data", "scores", "losses", "norm", "processor_seconds", "files")
_MARK = "<!-- quality.py --state: {} -->\n"
_CONTENTS = {"encoder": texts.CONTENTS, "lm": prompts.CONTENTS}
Json = dict[str, Any]


def stated() -> Json:
    """`families`: what each task's training gave; `tolerance`: how far another machine's scores may be from it."""
    return json.loads(STATED.read_text(encoding="utf-8"))


def state(families: Sequence[str], data: Path) -> None:
    """Make recipes.json and the tables say what was trained in the families' folders."""
    found = {
        family: {
            name: {key: entry[key] for key in _KEPT if key in entry} for name, entry in read(data / family).items()
        }
        for family in families
    }
    write(STATED, {**stated(), "families": {**stated()["families"], **found}})
    DOCUMENT.write_text(documented(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


def compared(family: str, tasks: Json) -> Iterator[str]:
    """A line for each task: its scores on val, and whether data, files and scores are those stated."""
    statement = stated()
    for name, entry in tasks.items():
        was = statement["families"].get(family, {}).get(name)
        scores = ", ".join(f"{what} {value:.3f}" for what, value in entry["scores"].items())
        yield f"{family} {name}: {scores}; {verdict(entry, was, statement['tolerance']) if was else 'not stated'}"


def verdict(entry: Json, was: Json, tolerance: float) -> str:
    """How a training compares with the one that is stated."""
    if entry["files"] == was["files"]:
        return "the stated files"
    differences = {what: abs(value - was["scores"][what]) for what, value in entry["scores"].items()}
    far = [f"{what} was {was['scores'][what]:.3f}" for what, value in differences.items() if value > tolerance]
    data = "the stated data" if entry["data"] == was["data"] else "OTHER DATA than stated"
    return f"{data}, {'SCORES DIFFER: ' + ', '.join(far) if far else f'scores within {tolerance}'}"


def documented(document: str) -> str:
    """The document with the tables as they follow from recipes.json."""
    for family, entries in stated()["families"].items():
        mark = _MARK.format(family)
        before, found, after = document.partition(mark)
        if not found:
            raise SystemExit(f"{DOCUMENT} has no line {mark!r}")
        table = "\n".join(_table(entries, _CONTENTS[family]))
        document = before + mark + table + "\n\n" + after.partition("\n\n")[2]
    return document


def _table(entries: Json, contents: dict[str, str]) -> Iterator[str]:
    before = next(iter(next(iter(entries.values()))["scores"]))
    yield f"| task | | rank | norm of the update | {before} alone → with adapter | seconds |"
    yield "|---|---|---|---|---|---|"
    for name, entry in entries.items():
        scores = " → ".join(f"{value:.3f}".removeprefix("0") for value in entry["scores"].values())
        recipe, norm, seconds = entry["recipe"], entry["norm"], entry["processor_seconds"]
        yield f"| {name} | {contents[name]} | {recipe['rank']} | {norm:.1f} | {scores} | {seconds} |"
