"""Where an adapter may go: what `check_output` lets pass, and what it says of the rest."""

from __future__ import annotations

import pytest

from lorafold.common.errors import LorafoldError
from lorafold.runs.output import check_output


@pytest.fixture
def here(tmp_path):
    """A file, a folder with something in it, an empty one, and an input."""
    for name in ("file", "full/inside", "input.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("kept")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize("output", [None, "new", "a/b/new.safetensors", "empty"])
def test_what_is_free_passes(here, output):
    check_output(here, output, False, [here / "input.safetensors"])


@pytest.mark.parametrize("output", ["file", "full"])
def test_what_exists_passes_if_asked_for(here, output):
    with pytest.raises(LorafoldError, match=f"{output}: exists already. Write overwrite=true"):
        check_output(here, output, False, [])
    check_output(here, output, True, [])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "output='', expected a name"),
        (" ", "output=' ', expected a name"),
        ("a\nb.safetensors", r"output='a\\nb.safetensors', expected one line"),
        ("~nobody-at-all/x", "~nobody-at-all/x: begins with ~, and there is no such home folder"),
        ("input.safetensors", "the output is the input .* must not be overwritten"),
        ("file/new", "cannot be written .*file is a file"),
        ("x" * 300, "cannot be written .*File name too long"),
    ],
)
def test_no_wish_to_overwrite_helps_where_nothing_can_go(here, output, words):
    for overwrite in (False, True):
        with pytest.raises(LorafoldError, match=words):
            check_output(here, output, overwrite, [here / "input.safetensors"])
