"""docs/formats.md says what is: its tables come from rows that are tried here, and from the clients' own tests.

Where they differ, the test fails with what belongs there.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lorafold
from lorafold.adapters import FORMATS, Adapter
from lorafold.adapters.files.locate import TENSORS_NAME
from lorafold.adapters.files.open_adapter import open_adapter
from lorafold.adapters.naming import ARCHITECTURES, name_of, places
from lorafold.common.errors import LorafoldError
from tests.adapters.language import gguf_tensors
from tests.adapters.samples import peft_folder, update
from tests.builders import one_thread as one_thread
from tests.clients.format_rows import PLAIN, ROWS, SAME, Row
from tests.clients.trainers import TRAINERS, cell

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
NAMED = {
    "sd": "SD 1.5",
    "sdxl": "SDXL",
    "flux": "Flux",
    "sd3": "SD3",
    "wan": "Wan",
    **{name: ARCHITECTURES[name]().title for name in ("flux2", "chroma", "qwen", "zimage", "lumina2", "auraflow")},
    **{name: ARCHITECTURES[name]().title for name in ("ltx", "hunyuan", "hidream")},
}
KINDS = {"bert": "BERT", "llama": "Llama", "conv": "ResNet"}
READ = [row for row in ROWS if row.form is not None]


def sample(row: Row, folder: Path) -> tuple[Path, Path | None]:
    """The adapter of a row on disk, and the base model that it needs."""
    folder.mkdir()
    base = folder / "base.safetensors" if row.base else None
    if base is not None:
        save_file({key: torch.ones(size) for key, size in row.base.items()}, base)
    if row.form == "gguf":
        return gguf_tensors(folder / "a.gguf", row.file()), base
    if row.config is not None:
        name = FORMATS[row.form].file if row.form else TENSORS_NAME
        written = peft_folder(folder / "adapter", row.file(), **row.config)
        return (written / TENSORS_NAME).rename(written / name).parent, base
    save_file(row.file(), folder / "a.safetensors", dict(row.metadata) or None)
    return folder / "a.safetensors", base


def again(adapter: Adapter, folder: Path) -> tuple[Path, Adapter]:
    """The adapter, saved and loaded."""
    path = lorafold.save(adapter, folder / FORMATS[adapter.format].named("out"))
    return path, lorafold.load(path)


@pytest.mark.parametrize("row", READ, ids=lambda row: row.layout)
def test_what_is_said_to_be_read_is_read_and_written_so(row: Row, tmp_path: Path) -> None:
    path, base = sample(row, tmp_path / "in")
    adapter = lorafold.load(path, base=base)
    assert adapter.format == row.form
    written, loaded = again(adapter, tmp_path)
    for name, module in adapter.modules.items():
        torch.testing.assert_close(update(loaded.modules[name]), update(module), rtol=1e-6, atol=1e-6)
    keys = set(open_adapter(written).tensors)
    assert (row.tensors.keys() <= keys) == (row.write == SAME)
    if row.base:
        with pytest.raises(LorafoldError, match="base="):
            lorafold.load(path)


@pytest.mark.parametrize("row", [row for row in ROWS if row.form is None], ids=lambda row: row.layout)
def test_what_is_said_to_be_refused_is_refused_by_name(row: Row, tmp_path: Path) -> None:
    with pytest.raises(LorafoldError, match=re.escape(row.reason)):
        lorafold.load(sample(row, tmp_path / "in")[0])


def test_every_format_has_a_row() -> None:
    assert {row.form for row in READ if row.write == SAME} == FORMATS.keys()
    assert {row.write for row in READ} == {SAME, PLAIN, "as diffusers"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def layouts() -> str:
    """Layout x (read, write)."""
    rows = [[row.layout, row.keys, row.read, row.write] for row in ROWS]
    return table(["layout", "tensors", "read", "written"], rows)


def clients() -> str:
    """Format x models of clients that load it."""
    from tests.clients.peft_models import CONFIGS
    from tests.clients.test_pipelines import CASES

    loaded: dict[str, list[str]] = {name: [] for name in FORMATS}
    for case in CASES:
        loaded[case.converted or case.forms[0]].append(f"diffusers: {NAMED[case.architecture]}")
    loaded["peft"] += [f"PEFT: {KINDS[kind]}" for kind in CONFIGS]
    rows = [[name, ", ".join(_grouped(dict.fromkeys(models)))] for name, models in sorted(loaded.items()) if models]
    return table(["merged file", "loaded and compared in"], rows)


def models() -> str:
    """What one layer of every model, a projection of attention, is called by the trainers."""
    rows = []
    for architecture in (build() for name, build in ARCHITECTURES.items() if name != "others"):
        ours = places(architecture.name, "diffusers")
        place = next(place for name, place in ours.items() if re.search(r"(attn1?|attention)\.to_q$", name))
        names = [
            name_of(architecture.name, style, place if style.endswith("diffusers") else replace(place, part=None))
            for style in (architecture.kohya, architecture.comfyui, "diffusers")
        ]
        rows.append([architecture.title, *(f"`{name}`" for name in names)])
    return table(["model", "kohya, musubi-tuner", "ComfyUI, ai-toolkit", "diffusers, SimpleTuner"], rows)


def trainers() -> str:
    """Model x trainer: what becomes of a file of theirs."""
    rows = []
    for name in (name for name in ARCHITECTURES if name != "others"):
        with tempfile.TemporaryDirectory() as folder:
            places = [Path(folder, str(i)) for i in range(len(TRAINERS))]
            for place in places:
                place.mkdir()
            cells = [cell(name, trainer, place) for trainer, place in zip(TRAINERS, places, strict=True)]
        rows.append([ARCHITECTURES[name]().title, f"`{name}`", *cells])
    return table(["model", "`model=`", *(trainer.title for trainer in TRAINERS)], rows)


def _grouped(models: Iterable[str]) -> list[str]:
    """The client is named once."""
    shown, last = [], ""
    for model in models:
        client, _, name = model.partition(": ")
        shown.append(name if client == last else f"{client} {name}")
        last = client
    return shown


@pytest.mark.parametrize("make", [layouts, models, trainers, clients], ids=lambda make: make.__name__)
def test_the_page_holds_the_table(make) -> None:
    if make is clients:
        pytest.importorskip("diffusers")
        pytest.importorskip("peft")
    expected, page = make(), PAGE.read_text(encoding="utf-8")
    assert expected in page, f"put this into docs/formats.md:\n\n{expected}\n"
