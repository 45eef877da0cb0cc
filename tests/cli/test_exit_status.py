"""How the program ends, seen from inside: the status and the one line of each way."""

from __future__ import annotations

import os
from errno import EIO, ENOSPC

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lorafold.cli.exit_status import ends_as_programs_do, mistakes_in_one_line
from lorafold.common.errors import LorafoldError

FULL = "HYDRA_FULL_ERROR"
ALL_FAILED = "No trials are completed yet."


def ended(around, error) -> int:
    """The status with which the program ends where this is raised."""
    with pytest.raises(SystemExit) as caught, around():
        raise error
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "lorafold: interrupted; an output is there as a whole or not at all\n"),
        (BrokenPipeError(), 141, ""),
        (OSError(ENOSPC, "x"), 1, "lorafold: error: no space left on the disk, or where standard output leads\n"),
    ],
    ids=["Ctrl-C", "a reader that left", "a full disk"],
)
def test_what_ends_a_program(error, status, line, capsys):
    assert ended(ends_as_programs_do, error) == status
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [OSError(EIO, "x"), ZeroDivisionError()], ids=repr)
def test_other_errors_are_defects_and_keep_their_traceback(error):
    with pytest.raises(type(error)), ends_as_programs_do():
        raise error


@pytest.fixture
def full_error(monkeypatch):
    """Sets what the user has in HYDRA_FULL_ERROR, and undoes what the program puts there."""
    monkeypatch.setenv(FULL, "0")
    return lambda value: monkeypatch.setenv(FULL, value)


@pytest.mark.parametrize("kind", [HydraException, OmegaConfBaseException, YAMLError])
def test_what_hydra_cannot_read_is_one_line_unless_more_is_asked_for(kind, full_error, capsys):
    assert ended(mistakes_in_one_line, kind("no such thing")) == 1
    assert capsys.readouterr().err == "lorafold: error: no such thing\n"
    full_error("1")
    with pytest.raises(kind), mistakes_in_one_line():
        raise kind("no such thing")


def test_hydra_is_to_raise(full_error):
    with mistakes_in_one_line():
        assert os.environ[FULL] == "1"


def test_a_search_in_which_every_run_failed(full_error, capsys):
    assert ended(mistakes_in_one_line, ValueError(ALL_FAILED)) == 1
    assert capsys.readouterr().err.startswith("lorafold: error: every run of the search failed; error.txt")
    for value, words in (("0", "another"), ("1", ALL_FAILED)):
        full_error(value)
        with pytest.raises(ValueError, match=words), mistakes_in_one_line():
            raise ValueError(words)


def test_what_a_run_has_logged_is_not_said_twice(full_error, capsys):
    assert ended(mistakes_in_one_line, LorafoldError("said already", remedy="None.")) == 1
    assert capsys.readouterr() == ("", "")
