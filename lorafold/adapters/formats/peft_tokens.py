"""PEFT's `trainable_token_indices`: rows that an adapter puts in place of an embedding's, one for each of some tokens.

`...token_adapter.trainable_tokens_delta` (tokens, dim) has them in the order of the configuration's list, or of its
lists by name of embedding. Source: PEFT 0.21, `tuners/trainable_tokens/layer.py` (`get_merged_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.common.errors import LorafoldError

SETTING = "trainable_token_indices"
_ROWS = ".token_adapter.trainable_tokens_delta"


def with_all_tokens(adapters: Sequence[Adapter]) -> list[Adapter]:
    """The adapters, those with rows for tokens having the rows of all: a token's rows are one adapter's, or equal.

    Raises:
        LorafoldError: two adapters have different rows for one token.
    """
    having = [adapter for adapter in adapters if adapter.config.get(SETTING) and _keys(adapter)]
    if len(having) < 2 or not all(map(_plain, having)) or len({type(a.config[SETTING]) for a in having}) > 1:
        return list(adapters)
    indices, rows = having[0].config[SETTING], {key: having[0].extras[key] for key in _keys(having[0])}
    for other in having[1:]:
        indices, rows = _united(indices, rows, other)
    return [
        replace(adapter, extras={**adapter.extras, **rows}, config={**adapter.config, SETTING: indices})
        if adapter in having
        else adapter
        for adapter in adapters
    ]


def _keys(adapter: Adapter) -> list[str]:
    return [key for key in adapter.extras if key.endswith(_ROWS)]


def _plain(adapter: Adapter) -> bool:
    """Whether there is a number for every row."""
    return all(
        _is_list(listed := _listed(adapter.config[SETTING], key)) and len(listed) == len(adapter.extras[key])
        for key in _keys(adapter)
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) and item >= 0 for item in value)


def _listed(indices: Any, key: str) -> Any:
    """The tokens of the rows `key`."""
    if not isinstance(indices, Mapping):
        return indices
    path = key.removesuffix(_ROWS)
    return next((tokens for name, tokens in indices.items() if f".{path}".endswith(f".{name}")), None)


def _united(indices: Any, rows: Mapping[str, Tensor], other: Adapter) -> tuple[Any, dict[str, Tensor]]:
    """The tokens and rows so far, and those that only the other adapter has."""
    theirs, united = other.config[SETTING], {**rows}
    for key in _keys(other):
        if key not in rows:
            united[key] = other.extras[key]
            continue
        ours, more = _listed(indices, key), _listed(theirs, key)
        places = {token: row for row, token in enumerate(ours)}
        new = [row for row, token in enumerate(more) if token not in places]
        for row, token in enumerate(more):
            if token in places and not torch.equal(rows[key][places[token]].double(), other.extras[key][row].double()):
                raise LorafoldError(
                    f"token {token} has another row in another adapter, so that it can be neither carried nor merged",
                    path=other.path,
                    key=key,
                    remedy="Merge adapters that do not train the same tokens.",
                )
        united[key] = torch.cat([rows[key], other.extras[key][new].to(rows[key].dtype)])
    return _union(indices, theirs), united


def _union(ours: Any, theirs: Any) -> Any:
    if isinstance(ours, Mapping):
        return {name: _union(ours.get(name, []), theirs.get(name, [])) for name in {**ours, **theirs}}
    return list(dict.fromkeys([*ours, *theirs]))
