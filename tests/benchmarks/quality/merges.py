"""The merges to compare: configurations of lorafold and of PEFT's add_weighted_adapter.

m = out, n = in, N = adapters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import yaml

import lorafold
from quality.scorer import Bench, Update


@dataclass(frozen=True, eq=False)
class Config:
    """One way to merge.

    Args:
        name: for tables.
        tool: "lorafold" or "peft".
        settings: of `lorafold.merge` or of `add_weighted_adapter`, without adapters.
        rank: of the merged adapter; None where it follows from the method and the adapters.
    """

    name: str
    tool: str
    settings: Mapping[str, Any]
    rank: int | None = None

    @property
    def label(self) -> str:
        """Name and rank."""
        return self.name if self.rank is None else f"{self.name} r{self.rank}"


@dataclass(frozen=True)
class Merged:
    """ΔW (m, n) by module, the largest rank of a module, and the seconds that merging took, without reading."""

    update: Update
    rank: int
    seconds: float


class Refused(Exception):
    """The method does not take these adapters; the message says why."""


def read_configs(path: Path, ranks: Sequence[int]) -> list[Config]:
    """The configurations of a YAML list, each with every rank, unless it states its own or follows from the method.

    An entry has a `name`, settings under `lorafold` or under `peft`, and perhaps `ranks`, a list in place of `ranks`.
    """
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    configs = [config for entry in entries for config in _expand(entry, ranks)]
    labels = [config.label for config in configs]
    for label in labels:
        if labels.count(label) > 1:
            raise SystemExit(f"{path}: more than one configuration {label!r}; give each a name of its own")
    return configs


def _expand(entry: Mapping[str, Any], ranks: Sequence[int]) -> Iterator[Config]:
    tools = [tool for tool in ("lorafold", "peft") if tool in entry]
    if len(tools) != 1 or not set(entry) <= {"name", "ranks", *tools}:
        raise SystemExit(f"{entry}: expected name, perhaps ranks, and one of lorafold or peft")
    config = Config(entry["name"], tools[0], entry[tools[0]] or {})
    fixed = "rank" in config.settings or config.settings.get("combination_type") in ("cat", "linear")
    yield from [config] if fixed else (replace(config, rank=rank) for rank in entry.get("ranks", ranks))


class Merger:
    """Merges adapters of a bench folder, which stay in memory."""

    def __init__(self, bench: Bench, bare: Callable[[], Any]) -> None:
        """`bare`: the model for PEFT to load the adapters into; its weights do not matter."""
        self._bench, self._bare = bench, bare
        self._adapters: dict[str, lorafold.Adapter] = {}
        self._model: Any = None

    def update(self, name: str) -> Update:
        """ΔW of one adapter."""
        return _dense(self._load(name))

    def merge(self, config: Config, names: Sequence[str], seed: int) -> Merged:
        """The merge of some adapters, each with weight 1 unless the configuration says otherwise.

        Raises:
            Refused: the method does not take them.
        """
        return (self._lorafold if config.tool == "lorafold" else self._peft)(config, names, seed)

    def _lorafold(self, config: Config, names: Sequence[str], seed: int) -> Merged:
        settings: dict[str, Any] = {"seed": seed, "device": "cpu", **config.settings}
        if config.rank is not None:
            settings["rank"] = config.rank
        weights = settings.get("weights", 1.0)
        settings["weights"] = [weights] * len(names) if isinstance(weights, int | float) else weights
        adapters = [self._load(name) for name in names]
        start = perf_counter()
        try:
            merged = lorafold.merge(adapters, **settings).adapter
        except lorafold.LorafoldError as error:
            raise Refused(str(error)) from None
        seconds = perf_counter() - start
        return Merged(_dense(merged), max(module.rank for module in merged.modules.values()), seconds)

    def _peft(self, config: Config, names: Sequence[str], seed: int) -> Merged:
        model = self._loaded(names)
        size = {} if config.rank is None else {"svd_rank": config.rank, "svd_full_matrices": False}
        torch.manual_seed(seed)
        start = perf_counter()
        try:
            model.add_weighted_adapter(list(names), [1.0] * len(names), "merged", **size, **config.settings)
        except ValueError as error:
            raise Refused(str(error)) from None
        seconds = perf_counter() - start
        layers = {name: layer for name, layer in model.base_model.model.named_modules() if hasattr(layer, "lora_A")}
        update = {name: layer.get_delta_weight("merged").detach() for name, layer in layers.items()}
        rank = max(layer.r["merged"] for layer in layers.values())
        model.delete_adapter("merged")
        return Merged(update, rank, seconds)

    def _load(self, name: str) -> lorafold.Adapter:
        if name not in self._adapters:
            self._adapters[name] = lorafold.load(self._bench.adapter(name))
        return self._adapters[name]

    def _loaded(self, names: Sequence[str]) -> Any:
        """A PeftModel with (at least) these adapters."""
        from peft import PeftModel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT 0.21 asks transformers 5 for names of its past
            for name in names:
                if self._model is None:
                    self._model = PeftModel.from_pretrained(self._bare(), self._bench.adapter(name), adapter_name=name)
                elif name not in self._model.peft_config:
                    self._model.load_adapter(self._bench.adapter(name), adapter_name=name)
        return self._model


def _dense(adapter: lorafold.Adapter) -> Update:
    """scale · up · down in float32, as PEFT folds an adapter into its model."""
    return {name: module.scale * (module.up @ module.down) for name, module in adapter.modules.items()}
