"""PEFT loads what lorafold merges, and computes W + ΔW: language models and a network of convolutions.

The inputs are folders that PEFT saved, with rank_pattern, alpha_pattern and rsLoRA.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lorafold
from tests.builders import one_thread as one_thread
from tests.clients.checking import changed, check_equal_outputs, check_outputs
from tests.clients.listening import complaints
from tests.clients.peft_models import base_model, deltas, layers, outputs, peft, peft_model, saved, weighted

# What PEFT calls in transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")

WEIGHTS = [0.7, -0.4]
KINDS = pytest.mark.parametrize("kind", ["bert", "llama", "conv"])


def loaded(kind: str, folder: Path):
    """The merged adapter in PEFT, which has nothing to say about it."""
    with complaints("default") as messages:
        model = peft.PeftModel.from_pretrained(base_model(kind), str(folder)).eval()
    assert messages == []
    return model


def with_updates(kind: str, updates: dict[str, Tensor]) -> nn.Module:
    """The base model with every ΔW added to its weight."""
    model = deepcopy(base_model(kind))
    for path, delta in updates.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, changed(model.get_submodule(path), delta))
    return model


@KINDS
@pytest.mark.parametrize(
    ("dtype", "rank"), [(torch.float32, 9), (torch.float32, "max"), (torch.float16, "max"), (torch.bfloat16, "max")]
)
def test_a_merged_folder_loads_and_adds_every_update(kind: str, dtype: torch.dtype, rank, tmp_path: Path) -> None:
    """Rank 9 is more than any joint rank."""
    model = peft_model(kind, dtype=dtype)
    merged = lorafold.merge(saved(model, tmp_path), weights=WEIGHTS, rank=rank).adapter
    result = loaded(kind, lorafold.save(merged, tmp_path / "merged"))
    config = json.loads((tmp_path / "merged" / "adapter_config.json").read_text())
    assert bool(config["rank_pattern"]) == (rank == "max")
    updates = weighted(model, WEIGHTS)
    assert deltas(result, "default").keys() == updates.keys()
    rtol = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    check_outputs(layers(result), updates, rtol)
    difference = outputs(result, kind) - outputs(with_updates(kind, updates), kind)
    assert float(difference.norm()) <= rtol * float(outputs(result, kind).norm()) + 1e-5


@KINDS
def test_the_exact_sum_is_what_peft_computes_with_both_adapters(kind: str, tmp_path: Path) -> None:
    """core=sum, rank=max against both adapters active."""
    both = peft_model(kind)
    merged = lorafold.merge(saved(both, tmp_path), weights=[1, 1], rank="max", core="sum").adapter
    one = loaded(kind, lorafold.save(merged, tmp_path / "merged"))
    both.base_model.set_adapter(["first", "second"])
    check_equal_outputs(layers(one), layers(both))
    torch.testing.assert_close(outputs(one, kind), outputs(both, kind), rtol=1e-5, atol=1e-5)


PLAIN = {
    "bert": ({"target_modules": ["query", "word_embeddings"], "r": 2}, {"target_modules": ["query", "dense"], "r": 3}),
    "llama": ({"target_modules": ["q_proj", "v_proj"], "r": 2}, {"target_modules": ["q_proj", "o_proj"], "r": 4}),
    "conv": ({"target_modules": ["classifier.1"], "r": 2}, {"target_modules": ["classifier.1"], "r": 3}),
}


@KINDS
def test_the_exact_sum_is_what_peft_concatenates(kind: str, tmp_path: Path) -> None:
    """core=sum, rank=max against add_weighted_adapter(combination_type="cat"), which takes no ranks by layer."""
    model = peft_model(kind, PLAIN[kind])
    merged = lorafold.merge(saved(model, tmp_path), weights=[0.7, 0.4], rank="max", core="sum").adapter
    one = loaded(kind, lorafold.save(merged, tmp_path / "merged"))
    model.add_weighted_adapter(["first", "second"], [0.7, 0.4], "cat", combination_type="cat")
    found, expected = deltas(one, "default"), deltas(model, "cat")
    assert found.keys() == expected.keys()
    for path, delta in expected.items():
        assert float((found[path] - delta).norm()) <= 1e-6 * float(delta.norm()), path
