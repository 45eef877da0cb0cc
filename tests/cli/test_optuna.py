"""Searches for the best run, by Optuna, as a user runs them."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest
import yaml

from tests.cli.test_sweep import SWEEP, left_behind, records
from tests.command_lines import lorafold as run

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

SEARCH = (*SWEEP, "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=2")
JUDGE = """
import os
import signal
from pathlib import Path


def bytes_of(adapter):
    if Path("kill").exists() and Path(adapter).parent.name == "2":
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(file.stat().st_size for file in Path(adapter).iterdir())


def size(adapter):
    return {"bytes": bytes_of(adapter)}
"""


@pytest.fixture
def here(tmp_path):
    """Where the user stands, with an evaluator of their own."""
    (tmp_path / "judge.py").write_text(JUDGE)
    return tmp_path


def results(sweep):
    return yaml.safe_load((sweep / "optimization_results.yaml").read_text())


def killed(*arguments, cwd):
    """Kill -9 of a search in its third run, between the adapter and `metrics.json`."""
    (cwd / "kill").touch()
    assert run(*arguments, cwd=cwd).returncode == -signal.SIGKILL
    (cwd / "kill").unlink()
    assert set(records(cwd / "sweep")) == {"0", "1"}


@pytest.mark.slow
def test_a_search_with_a_seed_goes_on_after_kill_9(here):
    """Optuna asks again for what was finished, is told the same values, and goes on as it would have."""
    wanted = ("evaluator=judge:bytes_of", "score=value", "hydra.sweeper.direction=maximize", "resume=true")
    arguments = (*SEARCH, *wanted, "rank=int(interval(2,9))", "objective=chordal,phi", "hydra.sweeper.n_trials=4")
    killed(*arguments, cwd=here)
    before = {path: path.stat().st_mtime_ns for path in here.glob("sweep/*/metrics.json")}
    process = run(*arguments, cwd=here)
    assert process.returncode == 0, process.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    found = records(here / "sweep")
    assert (sorted(found), left_behind(here / "sweep")) == (["0", "1", "2", "3"], [])
    settings = [(record["config"]["rank"], record["config"]["objective"]["name"]) for record in found.values()]
    assert all(2 <= rank <= 9 and objective in ("chordal", "phi") for rank, objective in settings)
    assert len(set(settings)) > 1
    best = results(here / "sweep")
    assert best["best_value"] == max(record["evaluation"]["value"] for record in found.values())
    assert best["best_params"]["rank"] == max(rank for rank, _ in settings)  # the largest file


def trials(database):
    """Their states and values, in the order in which they began."""
    query = "SELECT state, value FROM trials LEFT JOIN trial_values USING (trial_id) ORDER BY trial_id"
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.slow
def test_a_stored_study_goes_on_in_another_call(here):
    stored = ("hydra.sweeper.storage=sqlite:///trials.db", "hydra.sweeper.study_name=ranks", "resume=true")
    wanted = ("score=error", "evaluator=judge:bytes_of", "rank=int(interval(2,9))", "hydra.sweeper.n_trials=3")
    killed(*SEARCH, *stored, *wanted, cwd=here)
    known = trials(here / "trials.db")
    assert [state for state, _ in known] == ["COMPLETE", "COMPLETE", "RUNNING"]
    process = run(*SEARCH, *stored, *wanted, cwd=here)  # in the same folder, where it would write over run 0
    assert process.returncode == 1
    assert process.stderr.startswith("lorafold: error: sweep holds runs already")
    assert trials(here / "trials.db") == known
    process = run(*SEARCH, *stored, *wanted, "hydra.sweep.dir=on", cwd=here)
    assert process.returncode == 0, process.stderr
    new = trials(here / "trials.db")[len(known) :]
    errors = [record["summary"]["reconstruction_error"] for _, record in sorted(records(here / "on").items())]
    assert new == [("COMPLETE", pytest.approx(error, rel=1e-12)) for error in errors]
    assert len(errors) == 3
    least = min(value for _, value in (*known, *new) if value is not None)
    assert results(here / "on")["best_value"] == pytest.approx(least, rel=1e-12)


@pytest.mark.slow
def test_the_front_of_two_scores_one_by_an_own_evaluator(here):
    wanted = ("hydra.sweeper.direction=[minimize,minimize]", "score=[error,bytes]", "evaluator=judge:size")
    process = run(*SEARCH, *wanted, "hydra.sweeper.n_trials=5", "rank=choice(2,3,5)", cwd=here)
    assert process.returncode == 0, process.stderr
    tried = {
        (record["config"]["rank"], record["summary"]["reconstruction_error"], record["evaluation"]["bytes"])
        for record in records(here / "sweep").values()
    }
    front = results(here / "sweep")["solutions"]
    # a larger rank is larger and nearer: no trial dominates another
    assert {(entry["params"]["rank"], *entry["values"]) for entry in front} == tried
    assert len(tried) > 1


def test_a_search_without_a_finished_run_ends_in_one_line(here):
    process = run(*SEARCH, "score=error", "hydra.sweeper.n_trials=1", "rank=choice(0,-1)", cwd=here)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1].startswith("lorafold: error: every run of the search failed")
    assert (here / "sweep" / "0" / "error.txt").read_text().startswith("rank=")


def test_a_search_that_can_find_nothing_is_refused_before_its_first_run(here):
    process = run(*SEARCH, "rank=choice(2,3)", cwd=here)
    assert process.returncode == 1
    assert process.stderr == "lorafold: error: a search without a score. Write score=error, for example.\n"
    assert not (here / "sweep").exists()
