"""torchtune's names against its rule for PEFT, `tune_to_peft_adapter_weights`, written down again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorafold.adapters import Adapter, Module, load, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.convert.pipeline import convert
from lorafold.pipelines.merge.pipeline import merge
from tests.adapters.language import base_folder, peft_adapter, same_updates, torchtune_folder
from tests.adapters.samples import normal, update

Q = "layers.0.attn.q_proj"


def test_to_peft_and_back_is_the_identity(tmp_path: Path) -> None:
    before, base = peft_adapter(), str(base_folder(tmp_path / "base"))
    folder = torchtune_folder(tmp_path / "a", before)
    assert load(folder).modules[Q].scale == 1.5
    same_updates(convert(folder, format="peft", base=base).adapter, before)
    again = save(convert(before, format="torchtune", base=base).adapter, tmp_path / "again")
    theirs, ours = (load_file(path / "adapter_model.safetensors") for path in (folder, again))
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_two_merge_without_a_base(tmp_path: Path) -> None:
    folders = [torchtune_folder(tmp_path / name, peft_adapter(scale=s)) for name, s in (("a", 1.0), ("b", 3.0))]
    merged = load(save(merge(folders, weights=[1, 1], core="sum", rank="max").adapter, tmp_path / "out"))
    for name, module in merged.modules.items():
        expected = sum(update(load(folder).modules[name]) for folder in folders)
        torch.testing.assert_close(update(module), expected, rtol=1e-5, atol=1e-5)


def test_to_gguf_by_way_of_transformers(tmp_path: Path) -> None:
    """Both interleave the rows of Llama, so that the factors are the same again."""
    pytest.importorskip("gguf")
    before, base = peft_adapter(), str(base_folder(tmp_path / "base"))
    folder = torchtune_folder(tmp_path / "a", before)
    path = save(convert(folder, target="gguf", base=base).adapter, tmp_path / "a.gguf")
    assert torch.equal(load(path).modules["blk.0.attn_q"].up, load(folder).modules[Q].up)
    same_updates(convert(path, format="peft", base=base).adapter, before)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "the rows of this layer have another order in torchtune files.*base=FOLDER"),
        ({"model_type": "qwen3"}, "qwen3, of which lorafold does not know"),
    ],
)
def test_its_rows_depend_on_the_base_model(tmp_path: Path, config: dict[str, Any] | None, problem: str) -> None:
    base = None if config is None else str(base_folder(tmp_path / "base", **config))
    with pytest.raises(LorafoldError, match=problem):
        convert(torchtune_folder(tmp_path / "a", peft_adapter()), format="peft", base=base)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({f"{Q}.lora_a.weight": normal(3, 5), f"{Q}.lora_b.weight": normal(6, 3)}, "adapter_config.json says rank 2"),
        ({f"{Q}.lora_a.weight": normal(2, 5)}, "there is no lora_b.weight"),
        ({f"{Q}.lora_a.weight": normal(2, 5), f"{Q}.magnitude": normal(6)}, "magnitude: this is DoRA"),
        ({f"{Q}.lora_a.weight": normal(2, 2, 5), f"{Q}.lora_b.weight": normal(2, 6, 2)}, "says rank 2"),
    ],
)
def test_damaged_tensors_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], problem: str) -> None:
    folder = torchtune_folder(tmp_path / "a", peft_adapter())
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(LorafoldError, match=problem):
        load(folder)


def test_a_pickle_of_it_is_not_opened(tmp_path: Path) -> None:
    torch.save({f"{Q}.lora_a.weight": normal(2, 5)}, tmp_path / "adapter_model.pt")
    for path in (tmp_path, tmp_path / "adapter_model.pt"):
        with pytest.raises(LorafoldError, match=r"a pickle, expected safetensors.*convert it once"):
            load(path)


def test_a_layer_that_transformers_lacks_is_refused(tmp_path: Path) -> None:
    adapter = Adapter("torchtune", {"layers.0.fusion.q": Module("layers.0.fusion.q", normal(3, 1), normal(1, 3), 1.0)})
    with pytest.raises(LorafoldError, match="transformers has no such layer"):
        convert(adapter, format="peft", base=str(base_folder(tmp_path / "base")))
