"""What the page asks of the library, without a browser."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

import lorafold
from lorafold.commands.ui import words
from lorafold.commands.ui.config import UiConfig
from lorafold.commands.ui.run import ui
from lorafold.commands.ui.serve import serve
from lorafold.commands.ui.uploads import Upload
from lorafold.commands.ui.work import AUTO, Answer, Form, compared, looked_at, merged
from lorafold.common.errors import LorafoldError
from lorafold.runs.run import Run
from tests.builders import one_thread as one_thread
from tests.commands.ui.ui_samples import HOSTILE, adapter_files

FORM = Form(rank=3, method="", scale=AUTO, weights=None, device="cpu")


@pytest.fixture
def uploads(tmp_path):
    paths = adapter_files(tmp_path, "x", "y")
    return [Upload(f"{name}.safetensors", path) for name, path in zip(("style", "character"), paths, strict=True)]


def test_a_merge_is_that_of_the_library_and_tells_nothing_of_this_machine(uploads, tmp_path):
    answer = merged(uploads, [], FORM, tmp_path / "out", lambda *_: None)
    expected = lorafold.merge([upload.path for upload in uploads], rank=3, device="cpu")
    tensors = load_file(expected.save(tmp_path / "expected.safetensors"))
    assert all((value == tensors[key]).all() for key, value in load_file(answer.file).items())
    assert answer.words[0].startswith("style keeps ") and "character" in answer.words[0]
    assert any("load_lora_weights" in line for line in answer.words)
    assert '"command":"merge"' in answer.page
    for text in (*answer.words, answer.page, answer.file.read_bytes().decode("latin-1")):
        assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        (FORM, {"rank": 3}),
        (Form(3, "", 0.8, (0.7, 0.3), "cpu"), {"rank": 3, "weights": [0.7, 0.3], "scale": 0.8}),
        (Form(3, "", "each", None, "cpu"), {"rank": 3, "scale": "each"}),
    ],
)
def test_what_is_set_arrives(form, settings):
    assert form.settings([]) == lorafold.MergeSettings(device="cpu", **settings)


def test_a_method_keeps_what_is_not_set():
    form = Form(3, "balanced", AUTO, None, "cpu")
    assert form.settings([]) == lorafold.recipe("balanced", rank=3, device="cpu")


def test_a_comparison_is_a_sentence_and_a_page(uploads, tmp_path):
    answer = compared(uploads)
    assert answer.words == ["style and character: practically independent"]
    assert "<!doctype html>" in answer.page and str(tmp_path) not in answer.page


def test_warnings_are_heard(uploads, tmp_path):
    twice = [uploads[0], Upload("again.safetensors", uploads[0].path)]
    (warning,) = merged(twice, [], FORM, tmp_path / "out", lambda *_: None).warnings
    assert "are the same adapter" in warning


def test_no_word_of_a_file_is_markup(uploads):
    entry = looked_at(Upload(HOSTILE, uploads[0].path))
    entry |= {"warnings": [HOSTILE], "trigger_phrase": HOSTILE}
    text = words.adapters([entry], [HOSTILE]) + words.answer(Answer([HOSTILE], [HOSTILE], ""))
    text += words.frame(HOSTILE, HOSTILE) + words.line(HOSTILE)
    assert "<img" not in text and text.count("&lt;img") >= 7


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("lorafold.commands.ui.run.find_spec", lambda _: None)
    with pytest.raises(LorafoldError, match=r"Run pip install 'lorafold\[ui\]'"):
        ui(Run(tmp_path, tmp_path), UiConfig())


def test_a_size_that_is_none(tmp_path):
    with pytest.raises(LorafoldError, match=r"max_size=0, expected megabytes"):
        serve(UiConfig(max_size=0))
