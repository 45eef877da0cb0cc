"""How much of each adapter a merge keeps: every rule and PEFT's methods on real adapters, in one command.

    python tests/benchmarks/quality.py --bench DIR --out DIR                            # everything, on test
    python tests/benchmarks/quality.py --bench DIR --out DIR --split val --sets pairs --max-sets 20 --configs my.yaml

    python tests/benchmarks/quality.py --rebuild encoder,lm --data DIR                  # train the adapters anew

A bench folder is described in quality/scorer.py, the configurations in quality/methods.yaml. Merges pairs, triples,
sixes and one adapter of every task, untuned and with the factor λ on the merged update tuned on val, and scores them on
--split. Writes quality.md, quality.png and quality.json (with the correctness of every example) into --out, and each
measurement at once into records.jsonl, so that a run that was killed goes on where it was; after a change of the code
or of the bench folder use another --out. Everything random follows from --seed. bfloat16 is twice as fast where the CPU
has it (AMX), and changes about one answer in 500.

--rebuild fetches packages from Debian and PyPI into DIR/sources, trains adapters into the bench folders DIR/encoder and
DIR/lm, and says how they compare with those stated in quality/recipes.json; see quality/rebuild.py. A run that was
killed goes on with the task that it was at.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from plots import check_matplotlib

from lorafold.runs.record import environment
from quality import train_encoder, train_lm
from quality.bootstrap import Bootstrap
from quality.merges import Config, read_configs
from quality.plots import draw
from quality.rebuild import FAMILIES, read, rebuild
from quality.records import Crew, Job, Records
from quality.run import Lab, Protocol, merge_key, single_key, unpack
from quality.scorer import Bench
from quality.sets import GROUPS, AdapterSet, adapter_sets
from quality.statement import compared, state
from quality.summary import Measured, summarize
from quality.tables import markdown

_LAMBDAS = (0.1, 0.125, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2)
_REPLICATES = 2000
Groups = dict[str, list[AdapterSet]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not in the records yet, write the three files, and print the table."""
    options = _parser().parse_args(arguments)
    if options.rebuild:
        rebuild(options.rebuild, options.data, options.adapters)
        if options.state:
            state(options.rebuild, options.data)
        for family in options.rebuild:
            print("\n".join(compared(family, read(options.data / family))))
        return
    check_matplotlib()
    bench, base = Bench(options.bench.resolve()), options.base
    base = base or (train_lm.base_file() if bench.speaks else train_encoder.base_folder())
    configs, groups = read_configs(options.configs, options.ranks), _groups(bench, options)
    protocol = Protocol(options.split, options.lambdas, options.limit, options.precision, options.seed)
    records = Records(options.out / "records.jsonl")
    with Crew(partial(Lab, bench, base, protocol), options.jobs, options.threads) as crew:
        crew.measure(_single_jobs(groups, protocol, records), records)
        crew.measure(_merge_jobs(configs, groups, protocol, records), records)
    result = _result(bench, configs, groups, protocol, records, options.against)
    (options.out / "quality.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (options.out / "quality.md").write_text(markdown(result), encoding="utf-8")
    draw(result, options.out / "quality.png")
    print(markdown(result))


def _groups(bench: Bench, options: argparse.Namespace) -> Groups:
    unknown = set(options.adapters or ()) - set(bench.tasks)
    if unknown:
        raise SystemExit(f"--adapters: {bench.folder} has no {', '.join(sorted(unknown))}")
    tasks = {name: task for name, task in bench.tasks.items() if name in (options.adapters or bench.tasks)}
    found = {group: adapter_sets(tasks, group, options.max_sets, options.seed) for group in options.sets}
    return {group: sets for group, sets in found.items() if sets}


def _single_jobs(groups: Groups, protocol: Protocol, records: Records) -> list[Job]:
    names = dict.fromkeys(name for sets in groups.values() for names in sets for name in names)
    wanted = [(name, split) for name in names for split in protocol.splits]
    return [("single", job) for job in wanted if single_key(*job, protocol) not in records]


def _merge_jobs(configs: Sequence[Config], groups: Groups, protocol: Protocol, records: Records) -> list[Job]:
    """Set by set: what a killed run leaves can be compared."""
    alone = _accuracies(groups, protocol, records)
    sets = dict.fromkeys(names for sets in groups.values() for names in sets)
    wanted = {merge_key(config, names, protocol): (config, names, alone) for names in sets for config in configs}
    return [("merge", job) for key, job in wanted.items() if key not in records]


def _accuracies(groups: Groups, protocol: Protocol, records: Records) -> dict[tuple[str, str], float]:
    names = {name for sets in groups.values() for names in sets for name in names}
    keys = {(name, split): single_key(name, split, protocol) for name in names for split in protocol.splits}
    return {which: _alone(records[key]).mean() for which, key in keys.items()}


def _alone(record: dict[str, Any]) -> Any:
    return unpack(record["with"], record["examples"])


def _result(
    bench: Bench, configs: list[Config], groups: Groups, protocol: Protocol, records: Records, against: str | None
) -> dict[str, Any]:
    """Everything that the files say."""
    bootstrap = Bootstrap(bench.tasks, _REPLICATES, protocol.seed)
    names = dict.fromkeys(name for sets in groups.values() for names in sets for name in names)
    singles = {name: records[single_key(name, protocol.split, protocol)] for name in names}
    alone = {name: _alone(record) for name, record in singles.items()}
    merges = {
        (config.label, names): records[merge_key(config, names, protocol)] | {"config": config.label}
        for sets in groups.values()
        for names in sets
        for config in configs
    }
    found = {
        group: {
            "sets": len(sets),
            "lambdas": len(protocol.lambdas),
            "rows": summarize(configs, sets, Measured(alone, merges), bootstrap, against),
        }
        for group, sets in groups.items()
    }
    return {
        "environment": environment(torch.device("cpu")) | {"peft": version("peft"), "command_line": sys.argv},
        "protocol": asdict(protocol),
        "replicates": _REPLICATES,
        "against": against,
        "configs": [asdict(config) for config in configs],
        "groups": found,
        "alone": singles,
        "merges": list(merges.values()),
    }


def _parser() -> argparse.ArgumentParser:
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text, allow_abbrev=False)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--bench", type=Path, help="folder of adapters, heads and examples")
    task.add_argument("--rebuild", type=_named(FAMILIES), help=f"train the adapters of {' or '.join(FAMILIES)} anew")
    parser.add_argument(
        "--data", type=Path, default=Path("outputs/recipes"), help="of --rebuild (default outputs/recipes)"
    )
    parser.add_argument(
        "--state", action="store_true", help="make recipes.json and docs/quality.md say what --rebuild has trained"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/quality"), help="default outputs/quality")
    parser.add_argument("--configs", type=Path, default=Path(__file__).with_name("methods.yaml"))
    parser.add_argument("--ranks", type=_numbers(int), default=(16, 32), help="of the merged adapters (default 16,32)")
    parser.add_argument("--sets", type=_named(GROUPS), default=GROUPS, help=f"default {','.join(GROUPS)}")
    parser.add_argument("--max-sets", type=int, help="so many of each group, drawn at random")
    parser.add_argument(
        "--adapters", type=lambda text: text.split(","), help="only these of the folder, or of --rebuild"
    )
    parser.add_argument("--split", choices=("test", "val"), default="test")
    parser.add_argument("--lambdas", type=_lambdas, default=_LAMBDAS, help="factors to tune among; 1: untuned alone")
    parser.add_argument("--limit", type=int, help="so many examples of every split")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the model")
    parser.add_argument("--against", help="name of the configuration that others are compared with (default: PEFT's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="of each (default 1)")
    parser.add_argument("--base", type=Path, help="the base model (default: that of its package)")
    return parser


def _numbers(kind: type) -> Any:
    return lambda text: tuple(map(kind, text.split(",")))


def _lambdas(text: str) -> tuple[float, ...]:
    """Ascending, with 1, which is where the search starts."""
    return tuple(sorted({1.0, *map(float, text.split(","))}))


def _named(choices: Iterable[str]) -> Any:
    """One or more of the choices, with commas between."""

    def parse(text: str) -> tuple[str, ...]:
        for name in text.split(","):
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r} is unknown; choose from {', '.join(choices)}")
        return tuple(text.split(","))

    return parse
