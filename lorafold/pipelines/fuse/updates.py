"""What one adapter adds to one layer of a model.

m = out, n = in, r = rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.module import Pending
from lorafold.adapters.parametrisations.dora import dora_update
from lorafold.common.errors import LorafoldError
from lorafold.common.text import brief

# How the keys of additive tensors end -> weight or bias of the layer.
_DELTAS = {"diff": "weight", "diff_b": "bias", "w_norm": "weight", "b_norm": "bias"}
_PREFIX = "base_model.model."


@dataclass(frozen=True, eq=False)
class Update:
    """An update of one layer by one adapter: a pair of factors, a matrix, or what is computed from the weight.

    Args:
        name: of the layer in the adapter.
        leaf: "weight" or "bias".
        key: of the tensor, or layer, for messages.
        adapter: where it comes from.
        strength: wᵢ.
        source: a module; a layer with magnitudes or without factors; a matrix to add.
        replaces: whether the matrix is what the weight becomes, not what is added.
    """

    name: str
    leaf: str
    key: str
    adapter: Adapter
    strength: float
    source: Module | Pending | Tensor
    replaces: bool = False

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        if isinstance(self.source, Tensor):
            return len(self.source), self.source.numel() // max(1, len(self.source))
        return (self.source.module(None) if isinstance(self.source, Pending) else self.source).shape

    @property
    def needs_weight(self) -> bool:
        """Whether it depends on the weight that it changes."""
        return self.replaces or (isinstance(self.source, Pending) and self.source.magnitude is not None)

    def factors(self) -> tuple[Tensor, Tensor, float] | None:
        """Up (m, r), down (r, n) and the strength of their product, if it is one."""
        if not isinstance(self.source, Module):
            return None
        return self.source.up, self.source.down, self.strength * self.source.scale

    def matrix(self, weight: Tensor | None) -> Tensor:
        """ΔW (m, n) times the strength, float32 or float64.

        Args:
            weight: W (m, n), where it is needed.
        """
        if isinstance(self.source, Tensor):
            value = self.source.double().reshape(self.shape)
            return self.strength * (value - weight.double() if weight is not None else value)
        pending = self.source
        assert isinstance(pending, Pending)
        module = pending.module(None)
        if pending.magnitude is not None and weight is not None:
            return self.strength * dora_update(module, weight.double(), pending.magnitude.double())
        return self.strength * module.scale * (module.up.double() @ module.down.double())


def updates_of(adapter: Adapter, strength: float) -> Iterator[Update]:
    """All that an adapter changes.

    Raises:
        LorafoldError: something that has no place in a model.
    """
    for name, module in adapter.modules.items():
        yield from _of_module(adapter, strength, name, module)
    for name, pending in adapter.pending.items():
        yield Update(name, "weight", pending.key, adapter, strength, pending)
    for key, delta in adapter.deltas.items():
        name, _, suffix = key.rpartition(".")
        if suffix not in _DELTAS:
            raise _no_place(adapter, key)
        yield Update(name, _DELTAS[suffix], key, adapter, strength, delta)
    for key, value in adapter.extras.items():
        yield _replacement(adapter, strength, key, value)


def _of_module(adapter: Adapter, strength: float, name: str, module: Module) -> Iterator[Update]:
    if "#" in name:
        raise _no_place(adapter, name)
    yield Update(name, "weight", name, adapter, strength, module)
    if module.bias is not None:
        bias = module.scale * module.bias.double()
        yield Update(name, "bias", f"{name}.lora_B.bias", adapter, strength, bias)


def _replacement(adapter: Adapter, strength: float, key: str, value: Tensor) -> Update:
    """A whole weight or bias that stands for that of the model (PEFT's modules_to_save)."""
    name, _, leaf = key.removeprefix(_PREFIX).replace(".base_layer.", ".").rpartition(".")
    if leaf not in _DELTAS.values() or ".token_adapter." in key or not key.startswith(_PREFIX):
        raise _no_place(adapter, key)
    return Update(name, leaf, key, adapter, strength, value, replaces=True)


def _no_place(adapter: Adapter, key: str) -> LorafoldError:
    return LorafoldError(
        "lorafold fuses no such tensor (tokens, experts, groups, embeddings of prompts)",
        path=adapter.path,
        key=key,
        remedy="Fuse this adapter with the library that made it.",
    )
