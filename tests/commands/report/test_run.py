"""`lorafold report` as a user runs it, and as a value."""

from __future__ import annotations

import json

import pytest

from lorafold.commands.report.config import ReportConfig
from lorafold.commands.report.run import report
from lorafold.common.errors import LorafoldError
from lorafold.runs.run import Run
from tests.command_lines import lorafold as run
from tests.command_lines import refused
from tests.commands.report.sweep_samples import begin, grid, leave


@pytest.fixture
def sweep(tmp_path):
    """Twelve finished runs and one that failed, in a folder whose name Hydra would split."""
    folder = tmp_path / "my sweep, rank=4"
    for number, content in enumerate(grid()):
        leave(folder / str(number), content)
    (begin(folder / "12", "rank=0") / "error.txt").write_text("rank=0, expected a whole number >= 1\n")
    return folder


def test_it_leaves_a_page_a_table_and_figures(sweep, tmp_path):
    pytest.importorskip("matplotlib")
    process = run("report", sweep.name, "chosen=3", "hydra.run.dir=out", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"report.html", "report.csv", "figures"}
    assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"size", "path", "ranks", "parts"}
    lines = process.stdout.splitlines()
    assert lines[0] == "12 finished, 1 failed"
    assert "failed: 12: rank=0, expected a whole number >= 1" in lines
    assert "out/report.html" in lines
    assert max(map(len, lines)) <= 80
    page = (tmp_path / "out" / "report.html").read_text()
    data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert json.loads(data)["chosen"] == 3


def test_by_default_it_reports_on_all_outputs(sweep, tmp_path):
    sweep.rename(tmp_path / "outputs")
    begin(tmp_path / "outputs" / "report", command="report")
    process = run("report", cwd=tmp_path)
    assert process.stdout.splitlines()[0] == "12 finished, 1 failed", process.stderr


def test_a_mistake_is_one_line(warm, sweep, tmp_path):
    line = refused(warm.piped("report", sweep.name, "chosen=99", cwd=tmp_path))
    assert line.startswith("chosen='99'")


def test_without_matplotlib_it_says_what_to_install(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lorafold.commands.report.page.files.find_spec", lambda name: None)
    folder = tmp_path / "out"
    folder.mkdir()
    report(Run(folder, tmp_path), ReportConfig(runs=sweep.name))
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "no charts without matplotlib: pip install 'lorafold[report]'"
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.csv"}


@pytest.mark.parametrize("runs", [[], None, 3, [1]])
def test_runs_are_folders(tmp_path, runs):
    with pytest.raises(LorafoldError, match="expected a list of folders"):
        report(Run(tmp_path, tmp_path), ReportConfig(runs=runs))
