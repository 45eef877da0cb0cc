"""From records to numbers with intervals: one row per group of sets and configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from quality.bootstrap import Bootstrap, Scores
from quality.merges import Config
from quality.run import unpack
from quality.scorer import Correct
from quality.sets import AdapterSet

Json = dict[str, Any]
STAGES = ("untuned", "tuned")
METRICS = ("normalized", "worst")


@dataclass(frozen=True)
class Measured:
    """What was measured of one group.

    Args:
        alone: whether the examples of every adapter are correct with it alone.
        merges: the record of every configuration and set.
    """

    alone: Mapping[str, Correct]
    merges: Mapping[tuple[str, AdapterSet], Json]


def summarize(
    configs: Sequence[Config], sets: Sequence[AdapterSet], measured: Measured, bootstrap: Bootstrap, against: str | None
) -> list[Json]:
    """The rows of a group, best untuned normalized accuracy first; then the configurations that refused every set.

    Every row is compared, on its sets, with the best opponent of the same rank or of none: PEFT's configurations, or
    those named `against`.
    """
    taken = {c: [s for s in sets if "refused" not in measured.merges[c.label, s]] for c in configs}
    tables = {
        (c, stage): _scores(c, taken[c], stage, measured, bootstrap) for c in configs if taken[c] for stage in STAGES
    }
    rows = []
    for config in configs:
        records = [measured.merges[config.label, names] for names in taken[config]]
        row: Json = {"config": config.label, "name": config.name, "tool": config.tool, "rank": config.rank}
        row["sets"] = len(records)
        if records:
            row |= {key: median(record[key] for record in records) for key in ("seconds", "lambda")}
            row["largest_rank"] = max(record["rank"] for record in records)
            opponents = [other for other in configs if _is_opponent(other, config, against)]
            rivals = [other for other in opponents if taken[other] == taken[config]]
            row |= {stage: _stage(config, stage, rivals, tables, bootstrap) for stage in STAGES}
        else:
            row["refused"] = measured.merges[config.label, sets[0]]["refused"]
        rows.append(row)
    return sorted(rows, key=lambda row: -row["untuned"]["normalized"]["value"] if row["sets"] else 1.0)


def _scores(config: Config, sets: Sequence[AdapterSet], stage: str, measured: Measured, bootstrap: Bootstrap) -> Scores:
    alone = measured.alone
    packed = [measured.merges[config.label, names][stage] for names in sets]
    return bootstrap.scores([{n: unpack(bits, len(alone[n])) for n, bits in merge.items()} for merge in packed], alone)


def _is_opponent(other: Config, config: Config, against: str | None) -> bool:
    chosen = other.tool == "peft" if against is None else other.name == against
    return chosen and other is not config and (config.rank is None or other.rank in (None, config.rank))


def _stage(
    config: Config,
    stage: str,
    rivals: Sequence[Config],
    tables: Mapping[tuple[Config, str], Scores],
    bootstrap: Bootstrap,
) -> Json:
    """Both metrics, and how far they are above those of the rival that has most of it."""
    found: Json = {}
    for metric in METRICS:
        table = getattr(tables[config, stage], metric)
        found[metric] = asdict(bootstrap.estimate(table))
        if rivals:
            others = {rival: getattr(tables[rival, stage], metric) for rival in rivals}
            best = max(rivals, key=lambda rival: others[rival][0].mean())
            difference = asdict(bootstrap.estimate(table - others[best]))
            found[metric]["difference"] = difference | {"against": best.label}
    return found
