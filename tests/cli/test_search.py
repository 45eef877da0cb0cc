"""What a search must have before its first run."""

from __future__ import annotations

import pytest

from lorafold.cli.search import check_search
from lorafold.common.errors import LorafoldError

SWEEPER = {"direction": "minimize", "storage": None, "sampler": {"seed": None}}
TASK = {"score": "error", "evaluator": None, "resume": False}


@pytest.fixture
def used(tmp_path):
    """A folder with a finished run."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "metrics.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("sweeper", "task"),
    [
        ({}, {}),
        ({"direction": ["minimize", "maximize"]}, {"score": ["error", "phi"]}),
        ({"direction": ["minimize"]}, {"score": ["error"]}),
        ({}, {"score": "f1", "evaluator": "judge:size"}),
        ({"storage": "sqlite:///trials.db"}, {"resume": True}),
    ],
    ids=str,
)
def test_what_can_find_something_passes(sweeper, task, tmp_path):
    check_search({**SWEEPER, **sweeper}, {**TASK, **task}, tmp_path / "sweep")


@pytest.mark.parametrize(
    ("direction", "task", "message"),
    [
        ("minimize", {"score": None}, "Write score=error"),
        ("minimize", {"score": None, "evaluator": "judge:size"}, "Write score=value"),
        ("minimize", {"score": "eror"}, "Did you mean 'error'"),
        ("minimize", {"score": ["error", "phi"]}, r"2 scores \(error, phi\), but 1 .*=\[minimize,minimize\]"),
        (["minimize", "maximize"], {}, r"1 scores \(error\), but 2 .*direction=minimize"),
    ],
    ids=str,
)
def test_scores_and_directions_belong_together(direction, task, message, tmp_path):
    with pytest.raises(LorafoldError, match=message):
        check_search({**SWEEPER, "direction": direction}, {**TASK, **task}, tmp_path)


def test_other_sweepers_need_no_score(used):
    check_search({"max_batch_size": None}, {**TASK, "score": None, "resume": True}, used)


@pytest.mark.parametrize(
    ("sweeper", "resume", "message"),
    [
        ({"storage": "sqlite:///trials.db", "sampler": {"seed": 1}}, True, "Leave out hydra.sweep.dir"),
        ({"storage": "sqlite:///trials.db"}, False, "Leave out hydra.sweep.dir"),
        ({}, True, "the same hydra.sweeper.sampler.seed"),
    ],
    ids=["stored with a seed", "stored", "no seed"],
)
def test_runs_of_an_earlier_search_are_not_written_over(sweeper, resume, message, used):
    with pytest.raises(LorafoldError, match=message):
        check_search({**SWEEPER, **sweeper}, {**TASK, "resume": resume}, used)


@pytest.mark.parametrize("sampler", [{"seed": 1}, {}, None], ids=["seed", "grid", "none"])
def test_a_search_that_repeats_itself_goes_on(sampler, used):
    check_search({**SWEEPER, "sampler": sampler}, {**TASK, "resume": True}, used)


def test_without_resume_a_folder_may_be_used_again(used):
    check_search(SWEEPER, TASK, used)
