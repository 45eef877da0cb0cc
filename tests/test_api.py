"""lorafold from Python: its names, settings by keyword, and what a person sees of its values."""

from __future__ import annotations

import ast
import inspect
import math
import sys
from dataclasses import fields, replace
from functools import partial
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

import lorafold
from tests.builders import DEMO
from tests.builders import one_thread as one_thread

# Every verb, and a setting of it with a misprint.
VERBS = {
    "align": "gruop",
    "calibrate": "inptus",
    "compare": "alhpa",
    "convert": "fromat",
    "distill": "stpes",
    "inspect": "imput_rank",
    "merge": "weight",
    "reproduce": "tolerence",
    "resize": "rnak",
}
ONE = ("convert", "inspect", "reproduce", "resize")  # those that take one adapter, or the run of a merge


def settings_of(verb):
    return getattr(lorafold, f"{verb.title()}Settings")


def test_every_name_is_there_for_readers_completion_and_type_checkers():
    """Three lists in one file: what a type checker imports, what a star imports, and where a name is found."""
    (block,) = (node for node in ast.parse(Path(lorafold.__file__).read_text("utf-8")).body if isinstance(node, ast.If))
    imported = {alias.name: node.module for node in block.body for alias in node.names}
    assert imported == lorafold._HOMES
    assert lorafold.__all__ == dir(lorafold) == sorted([*imported, "__version__"])
    assert all(inspect.getdoc(getattr(lorafold, name)) for name in imported)
    assert all(f"{verb.title()}{kind}" in imported for verb in VERBS for kind in ("Settings", "Result"))
    with pytest.raises(AttributeError, match="no attribute 'merg'"):
        _ = lorafold.merg


@pytest.mark.parametrize("verb", VERBS)
def test_keywords_are_the_settings(verb):
    """A type checker reads the keywords, `merge` the fields: of the same names and types."""
    options = getattr(import_module(f"lorafold.pipelines.{verb}.settings"), f"{verb.title()}Options")
    keywords, settings = get_type_hints(options), get_type_hints(settings_of(verb))
    assert list(keywords.items()) == [(field.name, settings[field.name]) for field in fields(settings_of(verb))]
    assert not options.__required_keys__
    assert inspect.signature(getattr(lorafold, verb)).parameters["changes"].annotation == f"Unpack[{options.__name__}]"


@pytest.mark.parametrize("verb", VERBS)
def test_help_explains_every_setting(verb):
    lines = inspect.getdoc(settings_of(verb)).split("Args:\n")[1].splitlines()
    named = [line.strip().split(": ", 1) for line in lines]
    assert [name for name, _ in named] == [field.name for field in fields(settings_of(verb))]
    assert all(meaning for _, meaning in named)
    assert f"help(lorafold.{verb.title()}Settings)" in inspect.getdoc(getattr(lorafold, verb))


@pytest.mark.parametrize(("verb", "misprint"), VERBS.items())
def test_a_wrong_keyword_is_named_with_the_right_one(verb, misprint):
    call, given = getattr(lorafold, verb), DEMO[0] if verb in ONE else DEMO
    if verb == "distill":
        call = partial(call, model=None, inputs=[])
    with pytest.raises(
        lorafold.LorafoldError, match=rf"^unknown setting '{misprint}'\. Did you mean '(\w+)'\?$"
    ) as error:
        call(given, **{misprint: 3})
    assert error.value.remedy.split("'")[1] in [field.name for field in fields(settings_of(verb))]
    with pytest.raises(lorafold.LorafoldError, match=r"^unknown setting 'xyz'\. The settings are .+\.$"):
        call(given, settings_of(verb)(), xyz=3)
    with pytest.raises(lorafold.LorafoldError, match=rf"^settings of type int, expected {verb.title()}Settings\."):
        call(given, 3)


def test_so_is_one_of_a_recipe():
    with pytest.raises(lorafold.LorafoldError, match=r"^unknown setting 'weight'\. Did you mean 'weights'\?$"):
        lorafold.recipe("ctm", weight=[1, 2])


def test_settings_and_keywords_together():
    """What a keyword says counts, and the rest is as in the settings."""
    result = lorafold.resize(DEMO[0], lorafold.ResizeSettings(rank=2, parameters=0.5), parameters=None)
    assert {module.rank for module in result.adapter.modules.values()} == {2}


def merged(**changes):
    return lorafold.merge(DEMO, rank=4, solver="alternating", **changes)


def values():
    """Every public value, and what hangs at it."""
    merge, compare, align = merged(), lorafold.compare(DEMO), lorafold.align(DEMO)
    look, small = lorafold.inspect(DEMO[0]), lorafold.resize(DEMO[0], rank=3)
    three = [*DEMO, DEMO[0]]
    yield from (merge, compare, align, look, small, lorafold.convert(DEMO[0], format="peft"))
    yield from (lorafold.compare(three), lorafold.merge([*three, DEMO[1]], rank=4, solver="alternating"))
    yield from (merge.adapter, merge.adapter.modules["encoder.layer.0.attention.output.dense"], merge.inputs[0])
    batch = merge.batches[0]
    yield from (batch, batch.solution, batch.measures, batch.layers[0])
    yield from (compare.batches[0], compare.batches[0].overlaps[0, 1], align.batches[0], look.findings, small.modules)


def test_a_value_at_the_prompt_is_one_short_line():
    for value in values():
        assert repr(value).startswith(f"{type(value).__name__}(") and repr(value).endswith(")")
        assert len(repr(value)) < 200 and repr(value).isprintable()


def test_what_the_line_says():
    result = merged()
    summary = result.metrics()["summary"]
    kept = " ".join(f"{share:.2f}" for share in summary["retained"])
    assert repr(result) == f"MergeResult(36 modules, rank 4, kept {kept}, {summary['converged']}/36 converged)"
    assert repr(result.adapter) == "Adapter(peft, 36 modules, rank 4, float16)"
    assert repr(result.inputs[0]) == f"Adapter(peft, 36 modules, rank 24, float16, {DEMO[0]!r})"
    assert repr(lorafold.convert(DEMO[0], format="peft")) == "ConvertResult(peft -> peft, 36 -> 36 modules)"
    name = "encoder.layer.0.attention.output.dense"
    assert repr(result.adapter.modules[name]) == f"Module({name!r}, 384 x 384, rank 4, scale 1, float16)"


def test_names_from_files_stay_on_the_line():
    module = lorafold.Module("a\n\x1b[31m" * 200, torch.ones(3, 1), torch.ones(1, 2), 0.5)
    adapter = lorafold.Adapter("kohya", {module.name: module}, path=Path("b\n\x07" * 200))
    for value in (module, adapter):
        assert len(repr(value)) < 200 and repr(value).isprintable()
    assert repr(lorafold.Adapter("kohya", {})) == "Adapter(kohya, 0 modules, rank -)"


@pytest.mark.parametrize("write", [lorafold.save, lambda result, path: result.save(path)], ids=["save", "method"])
def test_a_result_is_saved_and_never_over_its_inputs(write, tmp_path):
    folder = lorafold.save(lorafold.load(DEMO[0]), tmp_path / "in")
    single = lorafold.Adapter("kohya", {"a": lorafold.Module("a", torch.ones(3, 2), torch.ones(2, 2), 1.0)})
    file = lorafold.save(single, tmp_path / "in.safetensors")
    results = [
        (lorafold.merge([folder, DEMO[1]], rank=4, solver="alternating"), folder, "out"),
        (lorafold.resize(file, rank=1), file, "out.safetensors"),
        (lorafold.convert(folder, format="peft"), folder, "converted"),
    ]
    for result, read, name in results:
        path = write(result, tmp_path / name)
        assert path == tmp_path / name
        modules = lorafold.load(path).modules
        assert all(torch.equal(modules[key].up, module.up) for key, module in result.adapter.modules.items())
        with pytest.raises(lorafold.LorafoldError, match="must not be overwritten"):
            write(result, read)
        onto_base = replace(result, settings=replace(result.settings, base=str(tmp_path / name)))
        with pytest.raises(lorafold.LorafoldError, match="must not be overwritten"):
            write(onto_base, path)


def test_the_ending_is_that_of_the_format(tmp_path):
    with pytest.raises(lorafold.LorafoldError, match=r"not a folder name for peft\. Name a folder; for a single"):
        merged().save(tmp_path / "x.safetensors")
    kohya = lorafold.Adapter("kohya", {"a": lorafold.Module("a", torch.ones(3, 1), torch.ones(1, 2), 1.0)})
    with pytest.raises(lorafold.LorafoldError, match=r"not a file name for kohya\. Name a file that ends in"):
        lorafold.save(kohya, tmp_path / "x")
    for value in (lorafold.align(DEMO), kohya.modules["a"], "x"):
        with pytest.raises(lorafold.LorafoldError, match=r"given, expected an adapter or a result"):
            lorafold.save(value, tmp_path / "x")
    assert not [*tmp_path.iterdir()]


class Cells(HTMLParser):
    """The rows of a table, the text around it, and the names of all elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        self.texts.append(data)
        if self.rows and self.get_starttag_text().startswith(("<td", "<th")):
            self.rows[-1].append(data)


TAGS = {"b", "div", "small", "table", "tbody", "td", "tfoot", "th", "thead", "tr"}


def two_digits(*values):
    return " ".join(f"{value:.2f}" for value in values)


def test_a_notebook_shows_the_table_of_a_merge():
    result = merged()
    metrics, html = result.metrics(), Cells(result._repr_html_())
    assert html.tags == TAGS and html.texts[0] == repr(result)
    *parts, total = html.rows[1:]
    assert [len(row) for row in html.rows] == [6] * 8 and [row[0] for row in parts] == [f"layer {i}" for i in range(6)]
    summary = metrics["summary"]
    before = two_digits(summary["phi_inputs"]["left"], summary["phi_inputs"]["right"])
    after = two_digits(*(sum(summary["phi"][side]) / 2 for side in ("left", "right")))
    kept, error = two_digits(*summary["retained"]), f"{summary['reconstruction_error']:.3f}"
    assert total == ["total", before, after, kept, error, f"{summary['converged']}/36"]
    errors = [m["reconstruction_error"] for m in metrics["modules"] if ".layer.3." in m["name"]]
    assert parts[3][4] == f"{math.fsum(errors) / len(errors):.3f}" and parts[3][5].endswith("/6")
    assert f"#1: {DEMO[0]} (rank 24)" in html.texts


def test_a_notebook_shows_the_table_of_a_comparison_and_of_an_inspection():
    pair, three, look = lorafold.compare(DEMO), lorafold.compare([*DEMO, DEMO[0]]), lorafold.inspect(DEMO[0])
    (numbers,) = pair.metrics()["summary"]["pairs"]
    html = Cells(pair._repr_html_())
    total = html.rows[-1]
    assert html.tags == TAGS and total[1] == f"{numbers['left']['null_phi']:.3f} ({numbers['left']['null_median']:.3f})"
    assert total[-1] == f"{numbers['cosine']:+.4f}" and numbers["reading"][-1] in html.texts
    pairs = Cells(three._repr_html_()).rows[1:]
    assert [row[0] for row in pairs] == ["#1 #2", "#1 #3", "#2 #3"]
    assert [row[3] for row in pairs] == [f"{entry['cosine']:+.4f}" for entry in three.metrics()["summary"]["pairs"]]
    total = Cells(look._repr_html_()).rows[-1]
    assert total[:3] == ["total", "36", "24"] and total[-2:] == [f"{look.metrics()['summary']['norm']:.3g}", "100.0 %"]


def test_what_files_say_is_no_markup_in_a_notebook():
    evil = "<script>alert(1)</script>&amp;\"'"
    first, second = (lorafold.load(path) for path in DEMO)
    modules = {evil: replace(next(iter(first.modules.values())), name=evil)}
    metadata = {"modelspec.title": evil, "ss_sd_model_name": evil, "modelspec.trigger_phrase": evil}
    adapter = replace(first, modules=modules, metadata=metadata, path=Path(evil))
    other = replace(second, modules={**modules, **second.modules})
    results = (lorafold.inspect(adapter), lorafold.compare([adapter, other]), lorafold.merge([adapter, other], rank=2))
    for result in results:
        html = Cells(result._repr_html_())
        assert html.tags <= TAGS and evil in "".join(html.texts)


def test_a_data_frame_has_a_row_per_module():
    pytest.importorskip("pandas")
    result = merged()
    frame, modules = result.to_pandas(), result.metrics()["modules"]
    assert frame["name"].tolist() == [module["name"] for module in modules]
    assert frame["retained_2"].tolist() == [module["retained"][1] for module in modules]
    assert frame["left_phi_1"].tolist() == [module["left"]["phi"][0] for module in modules]
    assert frame[["m", "n"]].to_numpy().tolist() == [module["shape"] for module in modules]
    pairs = lorafold.compare([*DEMO, DEMO[0]]).to_pandas()
    assert pairs.groupby(["first", "second"]).size().to_dict() == {(1, 2): 36, (1, 3): 36, (2, 3): 36}
    assert pairs[pairs["second"] == 3].groupby("first")["cosine"].min()[1] == pytest.approx(1)
    align, look = lorafold.align(DEMO).to_pandas(), lorafold.inspect(DEMO[0]).to_pandas()
    assert len(align) == len(look) == 36 and set(look["rank"]) == {24}
    assert set(lorafold.resize(DEMO[0], rank=3).to_pandas()["rank"]) == {3}
    assert lorafold.convert(DEMO[0], format="peft").to_pandas()["after"].tolist() == [m["name"] for m in modules]


def test_without_pandas_a_data_frame_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(lorafold.LorafoldError, match=r"which is not installed\. Run pip install pandas\.$"):
        lorafold.inspect(DEMO[0]).to_pandas()
