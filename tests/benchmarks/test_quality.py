"""The command on a small bench folder: what it writes hangs together, and a killed run goes on where it was."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml
from quality.command import main
from quality.merges import read_configs
from quality.run import pack, search, unpack
from quality.sets import adapter_sets
from quality.tiny import EXAMPLES, RANKS, TASKS, write_tiny

# PEFT 0.21 asks transformers 5 for a name of its past.
_PAST = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
pytestmark = [pytest.mark.benchmark, _PAST]

SHIPPED = Path(__file__).with_name("quality") / "methods.yaml"
CONFIGS = [
    {"name": "PEFT linear", "peft": {"combination_type": "linear"}},
    {"name": "PEFT cat", "peft": {"combination_type": "cat"}},
    {"name": "PEFT svd", "peft": {"combination_type": "svd"}},
    {"name": "sum", "lorafold": {"subspace_weight": 0}},
    {"name": "everything", "lorafold": {"rank": "max"}},
    {"name": "ours", "lorafold": {"core": "tsv"}, "ranks": [3]},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("matplotlib", reason="draws the benchmark's figure")
    folder = tmp_path_factory.mktemp("quality")
    bench = write_tiny(folder)
    (folder / "configs.yaml").write_text(yaml.safe_dump(CONFIGS), encoding="utf-8")

    def run(out: str, *options: str) -> tuple[dict, str]:
        paths = {"bench": bench, "base": folder / "base", "configs": folder / "configs.yaml", "out": folder / out}
        arguments = [f"--{name}={path}" for name, path in paths.items()]
        with redirect_stdout(StringIO()) as shown, redirect_stderr(StringIO()) as said:
            main([*arguments, "--ranks=2", "--lambdas=0.5,1,2", *options])
        assert (folder / out / "quality.md").read_text(encoding="utf-8").strip() == shown.getvalue().strip()
        assert (folder / out / "quality.png").stat().st_size > 10_000
        return json.loads((folder / out / "quality.json").read_text(encoding="utf-8")), said.getvalue()

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def result(run):
    return run("first")[0]


def test_every_set_and_configuration_is_there(result):
    assert {name: group["sets"] for name, group in result["groups"].items()} == {"pairs": 5, "triples": 2, "all": 2}
    labels = {"PEFT linear", "PEFT cat", "PEFT svd r2", "sum r2", "everything", "ours r3"}
    for group in result["groups"].values():
        assert {row["config"] for row in group["rows"]} == labels
    rows = {row["config"]: row for row in result["groups"]["pairs"]["rows"]}
    assert rows["PEFT linear"]["sets"] == 1  # of equal ranks
    assert (rows["PEFT cat"]["largest_rank"], rows["everything"]["largest_rank"], rows["ours r3"]["largest_rank"]) == (
        6,
        6,
        3,
    )


def test_exact_merges_and_truncations_are_those_of_peft(result):
    merges = {(m["config"], tuple(m["adapters"])): m for m in result["merges"]}
    for (config, names), ours in merges.items():
        if config in ("everything", "sum r2"):
            theirs = merges["PEFT cat" if config == "everything" else "PEFT svd r2", names]
            assert (ours["untuned"], ours["tuned"], ours["lambda"]) == (
                theirs["untuned"],
                theirs["tuned"],
                theirs["lambda"],
            )


def test_rows_are_the_means_of_what_the_bits_say(result):
    examples = {name: record["examples"] for name, record in result["alone"].items()}
    alone = {name: unpack(record["with"], EXAMPLES).mean() for name, record in result["alone"].items()}
    assert set(examples.values()) == {EXAMPLES}
    merges = [m for m in result["merges"] if m["config"] == "ours r3" and len(m["adapters"]) == 2]
    ratios = [[unpack(bits, EXAMPLES).mean() / alone[n] for n, bits in m["tuned"].items()] for m in merges]
    row = next(row for row in result["groups"]["pairs"]["rows"] if row["config"] == "ours r3")
    assert row["tuned"]["normalized"]["value"] == pytest.approx(sum(map(sum, ratios)) / 10)
    assert row["tuned"]["worst"]["value"] == pytest.approx(sum(map(min, ratios)) / 5)


def test_opponents_have_the_same_rank_or_none_to_choose(result):
    rows = {row["config"]: row["untuned"]["normalized"] for row in result["groups"]["pairs"]["rows"]}
    assert rows["ours r3"]["difference"]["against"] == "PEFT cat"
    assert rows["ours r3"]["difference"]["value"] == pytest.approx(rows["ours r3"]["value"] - rows["PEFT cat"]["value"])
    assert rows["everything"]["difference"]["value"] <= 0


def test_a_run_goes_on_where_it_was_killed(run, result):
    records = run.folder / "first" / "records.jsonl"
    lines = records.read_text(encoding="utf-8").splitlines()
    second = run.folder / "second"
    second.mkdir()
    (second / "records.jsonl").write_text("\n".join(lines[:-3]) + "\n" + lines[-3][:40], encoding="utf-8")
    again, said = run("second")
    assert said.count("evaluations/min") == 3
    timeless = [[{k: v for k, v in m.items() if k != "seconds"} for m in r["merges"]] for r in (again, result)]
    assert timeless[0] == timeless[1]


def test_processes_and_splits(run, result):
    options = ["--split", "val", "--sets", "pairs", "--max-sets", "2", "--limit", "20", "--jobs", "2"]
    found, _ = run("val", *options, "--against", "sum", "--adapters", "a,b,c")
    assert (found["groups"].keys(), found["groups"]["pairs"]["sets"]) == ({"pairs"}, 2)
    for merge in found["merges"]:
        if "refused" not in merge:
            assert max(merge["val"].values()) == merge["val"][str(merge["lambda"])]
    against = [row["untuned"]["worst"].get("difference", {}).get("against") for row in found["groups"]["pairs"]["rows"]]
    assert set(against) == {None, "sum r2"}


def test_sets_are_of_different_tasks_and_stay_chosen():
    pairs = adapter_sets(TASKS, "pairs", None, 0)
    assert {frozenset(pair) for pair in pairs} == {frozenset(p) for p in ("ab", "ac", "bc")} | {
        frozenset({"a", "c2"}),
        frozenset({"b", "c2"}),
    }
    assert adapter_sets(TASKS, "pairs", 3, 0) == pairs[:3]
    assert adapter_sets(TASKS, "pairs", None, 1) != pairs
    assert {len(names) for names in adapter_sets(TASKS, "all", None, 0)} == {3}
    without = [names for names in pairs if "b" not in names]
    assert adapter_sets({n: t for n, t in TASKS.items() if n != "b"}, "pairs", None, 0) == without
    assert set(RANKS) == set(TASKS)


def test_the_search_leaves_a_slope_that_leads_astray():
    grid = (0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0)
    values = dict(zip(grid, (1, 2, 4, 3, 0, 0.1, 0.2, 0.3, 0.2, 0.1), strict=True))
    assert search(values.__getitem__, grid) == 0.4
    assert search(lambda scale: 1.0, grid) == 1.0


def test_bits_survive_packing():
    for size in (1, 8, 13):
        bits = [i % 3 == 0 for i in range(size)]
        assert unpack(pack(bits), size).tolist() == bits


def test_the_shipped_configurations_can_be_read():
    configs = read_configs(SHIPPED, [16, 32])
    ranks = {config.rank for config in configs}
    assert ranks == {16, 32, None}
    assert {config.tool for config in configs} == {"peft", "lorafold"}
