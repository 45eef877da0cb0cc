"""What config.json says of the language model that an adapter is for, as far as other tools' files depend on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorafold.adapters.naming.language import MODELS, LanguageModel
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home

_NAME = "config.json"


@dataclass(frozen=True)
class BaseConfig:
    """A base model.

    Args:
        path: of its config.json.
        kind: `model_type`.
        model: what other tools make of that.
        width: `hidden_size`.
        heads: of q and of k.
        head_dim: rows of one head.
        tied: whether the last layer is the embedding.
    """

    path: Path
    kind: str
    model: LanguageModel
    width: int
    heads: tuple[int, int]
    head_dim: int
    tied: bool


def read_base_config(base: str | Path) -> BaseConfig:
    """Read the config.json of the folder `base`, or beside the file `base`.

    Raises:
        LorafoldError: none there, no model that lorafold knows, or numbers that cannot be.
    """
    path = with_home(base)
    path = (path if path.is_dir() else path.parent) / _NAME
    config = _json(path)
    inner = config.get("text_config")
    values = {**config, **inner} if isinstance(inner, dict) else config
    kind = values.get("model_type")
    if kind not in MODELS:
        raise LorafoldError(
            f"{kind!r}, expected one of {', '.join(MODELS)}",
            path=path,
            key="model_type",
            remedy="Of other models lorafold does not know what llama.cpp and torchtune make of them.",
        )
    width = _number(path, values, "hidden_size")
    heads = _number(path, values, "num_attention_heads")
    pairs = heads, _number(path, values, "num_key_value_heads", heads)
    head_dim = _number(path, values, "head_dim", width // heads)
    if head_dim % 2:
        raise LorafoldError(
            f"{head_dim}, expected an even number", path=path, key="head_dim", remedy="Download it again."
        )
    return BaseConfig(
        path, str(kind), MODELS[str(kind)], width, pairs, head_dim, bool(values.get("tie_word_embeddings"))
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LorafoldError(
            f"not readable as JSON ({error})",
            path=path,
            remedy="Name the folder of the base model, which needs nothing but its config.json: base=FOLDER.",
        ) from error
    if not isinstance(config, dict):
        raise LorafoldError("not a JSON object", path=path, remedy="Download it again.")
    return config


def _number(path: Path, values: dict[str, Any], key: str, default: int | None = None) -> int:
    value = values.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise LorafoldError(f"{value!r}, expected a positive integer", path=path, key=key, remedy="Download it again.")
    return value
