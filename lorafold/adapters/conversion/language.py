"""Adapters of language models between transformers' names (PEFT, MLX) and those of llama.cpp and torchtune.

llama.cpp, for models of the kind of Llama, and torchtune pair neighbouring rows of q and k where transformers pairs
those of the two halves of a head, so that these rows change places, and with them those of `up`: exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.conversion.servers import SETTINGS
from lorafold.adapters.formats.gguf import ARCHITECTURE
from lorafold.adapters.metadata.base_config import BaseConfig, read_base_config
from lorafold.adapters.module import Module
from lorafold.adapters.naming.language import INTERLEAVED, LLAMA_CPP, ROTARY, TORCHTUNE, to_tool, to_transformers
from lorafold.common.errors import LorafoldError

# Formats for language models alone.
FORMATS = ("mlx", "gguf", "torchtune")
_TOOLS = {"gguf": LLAMA_CPP, "torchtune": TORCHTUNE}
_BASE = "Name the folder of the base model, which needs nothing but its config.json: base=FOLDER."
# Names that MLX has in common with transformers.
_SHARED = re.compile(r"(?:language_model\.)?(?:model\.(?:layers\.\d+\.|embed_tokens$)|lm_head$)(?!.*#)")


def in_transformers(name: str, format: str) -> str:
    """The name of a layer of an adapter of any format, as transformers has it if that is known."""
    tool = _TOOLS.get(format)
    return (None if tool is None else to_transformers(name, tool)) or name


def as_transformers(adapter: Adapter, base: str | Path | None = None) -> Adapter:
    """An adapter of one of `FORMATS` as PEFT's: the same updates under transformers' names.

    Raises:
        LorafoldError: a layer that transformers does not have, or rows in another order and no `base` that says which.
    """
    if adapter.format == "mlx":
        _check(adapter, lambda module: _SHARED.match(module.name), "PEFT has no such layer")
        return replace(adapter, format="peft", config=_config(adapter, "model"))
    tool = _TOOLS[adapter.format]
    config = read_base_config(base) if base is not None else None
    _check_architecture(adapter, config)
    _check(adapter, lambda module: to_transformers(module.name, tool), "transformers has no such layer")
    named = [replace(module, name=to_transformers(module.name, tool) or "") for module in adapter.modules.values()]
    modules = [_reordered(adapter, module, config, _halves) for module in named]
    return replace(
        adapter,
        format="peft",
        modules={module.name: module for module in modules},
        config=_config(adapter, "base_model_name_or_path"),
    )


def for_tool(adapter: Adapter, format: str, base: str | Path | None = None, like: Adapter | None = None) -> Adapter:
    """An adapter under transformers' names in one of `FORMATS`.

    Args:
        base: folder of the base model; llama.cpp and torchtune need its config.json.
        like: an adapter of the format, whose architecture this one has.

    Raises:
        LorafoldError: a layer that the tool does not have, or no `base`, or one that the adapter does not fit.
    """
    if format == "mlx":
        _check(adapter, lambda module: _SHARED.match(module.name), "MLX has no such layer")
        return replace(adapter, format=format, config=_config(adapter, "base_model_name_or_path", "model"))
    config = read_base_config(base) if base is not None else None
    tool = _TOOLS[format]
    _check(adapter, lambda module: to_tool(module.name, tool), f"{format} has no such layer")
    settings = like.config if like is not None else _settings(adapter, format, config)
    target = replace(adapter, format=format, config=settings)
    _check_head(adapter, config)
    modules = [_reordered(target, module, config, _neighbours) for module in adapter.modules.values()]
    named = [replace(module, name=to_tool(module.name, tool) or "") for module in modules]
    return replace(target, modules={module.name: module for module in named})


def _check(adapter: Adapter, known: Callable[[Module], object], problem: str) -> None:
    """Refuse layers that are not `known`, and what is beside the factors, which has no counterpart elsewhere."""
    for key in (*adapter.extras, *adapter.deltas, *(key for key in SETTINGS if adapter.config.get(key))):
        raise LorafoldError(
            "no counterpart in the names of the other tool",
            path=adapter.path,
            key=key,
            remedy="Keep the adapter's format.",
        )
    for module in adapter.modules.values():
        if module.kind == "conv" or not known(module):
            raise LorafoldError(
                problem,
                path=adapter.path,
                key=module.name,
                remedy="Only layers of plain language models have names in all of PEFT, MLX, llama.cpp and torchtune.",
            )


def _check_architecture(adapter: Adapter, config: BaseConfig | None) -> None:
    if adapter.format == "torchtune":
        _check_torchtune(config)
        return
    architecture = adapter.config[ARCHITECTURE]
    if architecture not in INTERLEAVED:
        raise LorafoldError(
            f"{architecture!r}, expected one of {', '.join(INTERLEAVED)}",
            path=adapter.path,
            key=ARCHITECTURE,
            remedy="Of other models lorafold does not know what llama.cpp has made; keep the adapter's format.",
        )
    if config is not None and config.model.llama_cpp != architecture:
        raise LorafoldError(
            f"{architecture!r}, but the base model is {config.kind} ({config.path})",
            path=adapter.path,
            key=ARCHITECTURE,
            remedy="Name the model that the adapter was trained on.",
        )


def _check_torchtune(config: BaseConfig | None) -> None:
    if config is not None and not config.model.torchtune:
        raise LorafoldError(
            f"{config.kind}, of which lorafold does not know how torchtune orders its rows",
            path=config.path,
            key="model_type",
            remedy="Keep the adapter's format.",
        )


def _check_head(adapter: Adapter, config: BaseConfig | None) -> None:
    """A last layer that is the embedding has no weight of its own, and llama.cpp loads no adapter of it."""
    if config is not None and config.tied and "lm_head" in adapter.modules:
        raise LorafoldError(
            f"the base model has no such weight of its own (tie_word_embeddings in {config.path})",
            path=adapter.path,
            key="lm_head",
            remedy="Keep the adapter's format, or train without lm_head.",
        )


def _settings(adapter: Adapter, format: str, config: BaseConfig | None) -> dict[str, str]:
    """The configuration of an adapter of the format."""
    if config is None:
        raise LorafoldError(f"format={format} depends on the base model", path=adapter.path, remedy=_BASE)
    if format == "gguf":
        return {ARCHITECTURE: config.model.llama_cpp}
    _check_torchtune(config)
    return _config(adapter, "base_model_name_or_path")


def _config(adapter: Adapter, key: str, new: str = "base_model_name_or_path") -> dict[str, str]:
    """The name of the base model, if the configuration has one under `key`."""
    name = adapter.config.get(key)
    return {new: name} if isinstance(name, str) else {}


def _reordered(
    adapter: Adapter, module: Module, config: BaseConfig | None, order: Callable[[Tensor, int], Tensor]
) -> Module:
    """A layer, under transformers' name, with the rows of `up` in another order if the adapter's tool has one."""
    if config is not None:
        _check_shape(adapter, module, config)
    swaps = adapter.format == "torchtune" or INTERLEAVED.get(adapter.config[ARCHITECTURE], False)
    if not swaps or not ROTARY.search(module.name):
        return module
    if config is None:
        raise LorafoldError(
            f"the rows of this layer have another order in {adapter.format} files, by the size of a head",
            path=adapter.path,
            key=module.name,
            remedy=_BASE,
        )
    return replace(module, up=order(module.up, config.head_dim))


def _check_shape(adapter: Adapter, module: Module, config: BaseConfig) -> None:
    heads = {"q_proj": config.heads[0], "k_proj": config.heads[1], "v_proj": config.heads[1]}
    count = heads.get(module.name.rpartition(".")[2])
    expected = (config.head_dim * (count or 0), config.width)
    if count is not None and module.shape != expected:
        raise LorafoldError(
            f"{module.shape[0]} x {module.shape[1]}, but {expected[0]} x {expected[1]} by {config.path}",
            path=adapter.path,
            key=module.name,
            remedy="Name the model that the adapter was trained on.",
        )


def _neighbours(up: Tensor, head: int) -> Tensor:
    """Rows (half, i) of every head as (i, half)."""
    return up.reshape(-1, 2, head // 2, up.shape[1]).transpose(1, 2).reshape(up.shape)


def _halves(up: Tensor, head: int) -> Tensor:
    """And back."""
    return up.reshape(-1, head // 2, 2, up.shape[1]).transpose(1, 2).reshape(up.shape)
