"""The notebooks in examples/ run, cell by cell, and show what a reader should see."""

from __future__ import annotations

import ast
import json

import pytest

from tests.builders import one_thread as one_thread
from tests.command_lines import ROOT

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="not a checkout")


def cells(name):
    """The source of each cell of code; a notebook is stored without output."""
    notebook = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["language_info"]["name"]) == (4, "python")
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    return ["".join(cell["source"]) for cell in code]


def shown(name):
    """Run the cells one after the other; what each ends with, as Jupyter shows it."""
    names = {"__name__": "__main__"}
    for source in cells(name):
        *statements, last = ast.parse(source).body
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(statements, []), name, "exec"), names)
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)
            yield value._repr_html_() if hasattr(value, "_repr_html_") else value
        else:
            exec(compile(source, name, "exec"), names)


def test_two_adapters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inspected, compared, merged, exact, files = shown("two_adapters.ipynb")
    assert "dnoun" in inspected and "practically independent" in compared
    assert "MergeResult(36 modules, rank 16" in merged and "kept 1.00 1.00" in exact
    assert files == ["README.md", "adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.slow
def test_study(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert list(shown("study.ipynb")) == [None, None]
    output = capfd.readouterr().out
    assert output.count("kept 0.") >= 4 and "identical" in output
    assert (tmp_path / "page" / "report.html").exists()


def test_there_is_no_other():
    assert {path.name for path in EXAMPLES.glob("*.ipynb")} == {"two_adapters.ipynb", "study.ipynb"}
