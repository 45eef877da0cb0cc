"""The comparison as markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
_PACKAGES = ("lorafold", "python", "torch", "peft")


def markdown(result: Json) -> str:
    """A table per group, with what it means."""
    return "\n".join([_setting(result), *(_group(name, group) for name, group in result["groups"].items())])


def _setting(result: Json) -> str:
    protocol, environment = result["protocol"], result["environment"]
    versions = ", ".join(f"{name} {environment[name]}" for name in _PACKAGES)
    lambdas = ", ".join(f"{value:g}" for value in protocol["lambdas"])
    limit = "all examples" if protocol["limit"] is None else f"the first {protocol['limit']} examples"
    tuned = (
        f"λ from {lambdas}, the best on val of every third and uphill from there"
        if len(protocol["lambdas"]) > 1
        else "not tuned"
    )
    return (
        f"Split {protocol['split']}, {limit} of every task, {protocol['precision']}; {tuned}. "
        f"Seeds: rules {protocol['seed']}, choice of sets {protocol['seed']}, bootstrap {protocol['seed']} "
        f"({result['replicates']} replicates). {versions}.\n\n"
        "Normalized: accuracy of the merge / accuracy of the adapter alone, mean over tasks and sets; worst: the least "
        "of a set, mean over sets. In brackets 95 % paired bootstrap intervals over examples and sets. Δ: above the "
        f"best {_opponents(result)} of the same rank (or of no choosable rank), for each column by itself. Seconds: of "
        "the merge alone, median over sets.\n"
    )


def _opponents(result: Json) -> str:
    return f"row of {result['against']}" if result["against"] else "PEFT row"


def _group(name: str, group: Json) -> str:
    stages = ("untuned",) if group["lambdas"] == 1 else ("untuned", "tuned")
    header = ["configuration", "sets"]
    for stage in stages:
        header += [f"{stage} normalized", "Δ", "worst", "Δ"]
    header += ["λ", "rank", "seconds"] if len(stages) > 1 else ["rank", "seconds"]
    rows = [list(_row(row, stages)) for row in group["rows"] if row["sets"]]
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"## {name}: {group['sets']} sets\n\n{table}\n{_refusals(group['rows'])}"


def _row(row: Json, stages: Sequence[str]) -> Iterator[str]:
    yield from (row["config"], str(row["sets"]))
    for stage in stages:
        for metric in ("normalized", "worst"):
            found = row[stage][metric]
            yield f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            yield _difference(found.get("difference"))
    if len(stages) > 1:
        yield f"{row['lambda']:g}"
    yield from (str(row["largest_rank"]), f"{row['seconds']:.2f}")


def _difference(found: Json | None) -> str:
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]" if found else ""


def _refusals(rows: Sequence[Json]) -> str:
    return "".join(f"\n{row['config']}: {row['refused']}\n" for row in rows if not row["sets"])
