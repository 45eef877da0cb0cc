"""report.csv: a row for every run, and no formulas."""

from __future__ import annotations

import csv

from lorafold.commands.report.csv import write_runs
from lorafold.commands.report.sweep import read_sweep
from tests.commands.report.sweep_samples import begin, leave, metrics


def rows(path, sweep):
    write_runs(path, sweep)
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_finished_and_other_runs_have_a_row(tmp_path):
    leave(tmp_path / "0", metrics(rank=4, evaluation={"accuracy": 0.5}))
    leave(tmp_path / "1", metrics(rank=8))
    failed = begin(tmp_path / "2", "rank=0")
    (failed / "error.txt").write_text("rank=0, expected more\n")
    sweep = read_sweep([tmp_path])
    first, second, third = rows(tmp_path / "report.csv", sweep)
    assert list(first)[:4] == ["run", "status", "rank", "parameters"]
    assert (first["rank"], first["accuracy"], second["accuracy"]) == ("4", "0.5", "")
    assert float(second["kept_worst"]) == sweep.runs[1].numbers.worst_kept
    assert first["command"] == sweep.runs[0].repeat
    assert (third["status"], third["asked"], third["error"]) == ("failed", "rank=0", "rank=0, expected more")


def test_no_cell_is_a_formula(tmp_path):
    content = metrics(evaluation={"=1+1": 0.5})
    content["config"]["dtype"] = '=HYPERLINK("http://x")'
    leave(tmp_path / "@sum", content)
    leave(tmp_path / "\udcff", metrics(rank=8))
    content["config"]["dtype"] = -1.5
    leave(tmp_path / "-2", content)
    found = rows(tmp_path / "report.csv", read_sweep([tmp_path]))
    cells = [cell for row in found for cell in (*row, *row.values()) if cell and not cell[0].isalnum()]
    assert cells and all(cell.startswith(("'", "/", "\\")) for cell in cells)
