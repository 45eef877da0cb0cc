"""Statistics through a file, and files that hold none."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
import torch

from lorafold.adapters.files.tensor_file import open_tensors, write_tensors
from lorafold.calibration import LayerStatistics, Statistics
from lorafold.calibration.file import check_statistics, load_statistics, save_statistics
from lorafold.common.errors import LorafoldError
from tests.builders import Source
from tests.builders import one_thread as one_thread
from tests.layer_statistics import layer_statistics, random_moment

ENTRY = "lorafold_statistics"


def three() -> Statistics:
    """Of three modules, two of which read the same input."""
    source = Source(0)
    first, second = (layer_statistics(random_moment(source, n), k) for n, k in ((8, 3), (5, 0)))
    first = LayerStatistics(first.diagonal.float(), first.directions.half(), first.eigenvalues.float(), 60, 1.5)
    second = LayerStatistics(second.diagonal.float(), second.directions.half(), second.eigenvalues.float(), 60, 0.0)
    return Statistics({"q": first, "k": replace(first, energy=2.5), "o": second}, "ab", "cd", "models/β", 32)


def test_a_file_gives_back_what_went_in(tmp_path):
    before = three()
    after = load_statistics(save_statistics(before, tmp_path / "a.stats.safetensors"))
    assert [*after.layers] == [*before.layers]
    for field in fields(Statistics)[1:]:
        assert getattr(after, field.name) == getattr(before, field.name)
    for name, layer in before.layers.items():
        for field in fields(LayerStatistics):
            one, other = getattr(layer, field.name), getattr(after.layers[name], field.name)
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_inputs_in_common_are_stored_once_and_bytes_are_the_same_again(tmp_path):
    paths = [save_statistics(three(), tmp_path / name) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {key.split(".")[0] for key in open_tensors(paths[0]).tensors} == {"0", "1"}
    again = save_statistics(load_statistics(paths[0]), tmp_path / "c")
    assert again.read_bytes() == paths[0].read_bytes()


def broken(tmp_path, tensors=lambda tensors: tensors, head=lambda head: head):
    """A file with its tensors or its header changed."""
    file = open_tensors(save_statistics(three(), tmp_path / "whole"))
    own = {key: tensor.clone() for key, tensor in file.tensors.items()}
    path = tmp_path / "broken.stats.safetensors"
    write_tensors(path, tensors(own), {ENTRY: json.dumps(head(json.loads(file.metadata[ENTRY])))})
    return path


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("0.diagonal", torch.full((8,), -1.0), "negative second moment"),
        ("0.eigenvalues", torch.tensor([1.0, -1.0, 0.0]), "negative second moment"),
        ("0.diagonal", torch.full((8,), torch.nan), "NaN or Inf"),
        ("0.directions", torch.full((8, 3), torch.inf), "NaN or Inf"),
        ("0.directions", torch.ones(8, 3), "not orthonormal"),
        ("0.directions", torch.ones(8, 2), "shapes (8,), (8, 2), (3,), expected"),
        ("0.directions", torch.ones(7, 3), "shapes (8,), (7, 3), (3,), expected"),
        ("0.diagonal", torch.ones(8, dtype=torch.int32), "floating-point"),
    ],
)
def test_numbers_that_are_no_statistics_are_refused(tmp_path, key, value, problem):
    path = broken(tmp_path, tensors=lambda tensors: tensors | {key: value})
    with pytest.raises(LorafoldError, match="calibrate") as refusal:
        load_statistics(path)
    assert problem in str(refusal.value) and str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda head: head | {"version": 2}, "layout 2, expected 1"),
        (lambda head: [head], "layout None"),
        (
            lambda head: {key: value for key, value in head.items() if key != "base"},
            "damaged file of statistics (KeyError('base'",
        ),
        (lambda head: head | {"inputs": "many"}, "inputs='many', expected int"),
        (lambda head: head | {"modules": {"q": {"input": 7, "tokens": 1, "energy": 1.0}}}, "(KeyError('7.diagonal'"),
        (lambda head: head | {"modules": {"q": {"input": 0, "tokens": 0, "energy": 1.0}}}, "tokens=0"),
        (lambda head: head | {"modules": {"q": {"input": 0, "tokens": 1, "energy": -1.0}}}, "energy=-1.0"),
        (lambda head: head | {"modules": {"q": {"input": 0, "tokens": 1, "energy": "x"}}}, "energy='x'"),
        (lambda head: head | {"modules": ["q"]}, "damaged file of statistics (AttributeError"),
    ],
)
def test_headers_that_say_something_else_are_refused(tmp_path, change, problem):
    with pytest.raises(LorafoldError) as refusal:
        load_statistics(broken(tmp_path, head=change))
    assert problem in str(refusal.value)


def test_other_files_are_refused(tmp_path):
    write_tensors(tmp_path / "adapter.safetensors", {"a": torch.ones(2)}, {})
    with pytest.raises(LorafoldError, match="not a file of statistics"):
        load_statistics(tmp_path / "adapter.safetensors")
    write_tensors(tmp_path / "scribble.safetensors", {"a": torch.ones(2)}, {ENTRY: "{"})
    with pytest.raises(LorafoldError, match="damaged"):
        load_statistics(tmp_path / "scribble.safetensors")
    with pytest.raises(LorafoldError, match="nowhere"):
        load_statistics(tmp_path / "nowhere")


def test_nothing_is_written_of_numbers_that_are_no_statistics(tmp_path):
    wrong = replace(three(), layers={"q": replace(three().layers["q"], energy=float("nan"))})
    with pytest.raises(LorafoldError, match="energy=nan"):
        save_statistics(wrong, tmp_path / "a")
    assert not [*tmp_path.iterdir()]
    check_statistics(three())
