"""Rows for tokens: PEFT puts those of both adapters in place once they are merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lorafold.adapters import Adapter, save
from lorafold.adapters.formats.peft_tokens import with_all_tokens
from lorafold.common.errors import LorafoldError
from lorafold.layers.assemble import assemble
from tests.adapters.samples import PREFIX, normal
from tests.builders import single

ROWS = ".token_adapter.trainable_tokens_delta"
KEY = f"{PREFIX}model.embed_tokens{ROWS}"
OTHER = f"{PREFIX}head{ROWS}"


def adapter(indices: Any, rows: Tensor, key: str = KEY) -> Adapter:
    """One linear module, and rows for tokens."""
    one = single(normal(6, 2), normal(2, 5), form="peft")
    return Adapter("peft", one.modules, extras={key: rows}, config={"trainable_token_indices": indices})


def merged(*adapters: Adapter) -> Adapter:
    pair = next(iter(adapters[0].modules.values()))
    return assemble(adapters, [1.0] * len(adapters), 1.0, {"a": (pair.up, pair.down)})


def test_rows_of_both_are_carried_by_token() -> None:
    """The tokens overlap in one, for which the rows agree."""
    rows = normal(9, 4)
    result = merged(adapter([7, 2], rows[[7, 2]]), adapter([2, 5], rows[[2, 5]].double()))
    assert result.config["trainable_token_indices"] == [7, 2, 5]
    assert torch.equal(result.extras[KEY], rows[[7, 2, 5]])


def test_lists_by_name_of_embedding_are_united_each() -> None:
    rows = normal(9, 4)
    one = adapter({"embed_tokens": [1]}, rows[[1]])
    other = adapter({"embed_tokens": [3], "head": [4]}, rows[[3]])
    other = replace(other, extras={**other.extras, OTHER: rows[[4]]})
    result = merged(one, other)
    assert result.config["trainable_token_indices"] == {"embed_tokens": [1, 3], "head": [4]}
    assert torch.equal(result.extras[KEY], rows[[1, 3]]) and torch.equal(result.extras[OTHER], rows[[4]])


def test_other_rows_for_one_token_are_refused() -> None:
    with pytest.raises(LorafoldError, match=r"trainable_tokens_delta: token 5 has another row in another adapter"):
        merged(adapter([5], normal(1, 4)), adapter([4, 5], normal(2, 4, seed=1)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([5], {"embed_tokens": [6]}),
        ([5, 6], [7]),  # a number for a row is missing
        (["5"], [6]),
    ],
)
def test_what_is_no_list_of_numbers_for_the_rows_is_left_to_other_checks(one: Any, other: Any) -> None:
    adapters = [adapter(one, normal(1, 4)), adapter(other, normal(1, 4, seed=1))]
    assert with_all_tokens(adapters) == adapters
    with pytest.raises(LorafoldError):
        merged(*adapters)


def test_peft_puts_all_of_them_in_place(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleDict({"embed_tokens": nn.Embedding(9, 5), "a": nn.Linear(5, 6)})

    key, rows = f"{PREFIX}embed_tokens{ROWS}", normal(9, 5)
    pair = [adapter({"embed_tokens": tokens}, rows[tokens], key) for tokens in ([1, 8], [4])]
    named = [replace(one, config={**one.config, "target_modules": ["a"]}) for one in pair]
    model = peft.PeftModel.from_pretrained(network(), str(save(merged(*named), tmp_path / "out")))
    weight = network()["embed_tokens"].weight.detach().clone()
    weight[[1, 8, 4]] = rows[[1, 8, 4]]
    torch.testing.assert_close(model.base_model.model["embed_tokens"](torch.arange(9)).detach(), weight)
