"""A model with an adapter switched on: forward hooks that add its updates, taken away afterwards.

The layers compute what they always do, with their weights as they are: nothing is merged, so nothing has to be undone.
Shapes: m = out, n = in * prod(kernel), r = rank.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lorafold.adapters import Adapter, Module
from lorafold.common.errors import LorafoldError
from lorafold.models.layers import Part, inner_layer, layers_named, layers_of

_log = logging.getLogger(__name__)

Factors = Callable[[str], tuple[Tensor, Tensor]]  # name -> up (m, r), down (r, n); the scale is in them
Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Tensor], Tensor]
_CHANGES = {"diff": "weight", "w_norm": "weight", "diff_b": "bias", "b_norm": "bias"}  # by the ends of keys
_PEFT_PREFIX = "base_model.model."


@contextmanager
def attached(model: Any, adapter: Adapter) -> Iterator[dict[str, tuple[Part, ...]]]:
    """The adapter is on inside: its updates, LoRA biases, additive tensors and whole weights; all as before afterwards.

    Whole weights that the model has no place for, such as the head of a classifier that it lacks, are left out with a
    warning.

    Args:
        model: a torch module or a pipeline of diffusers, without this adapter.
        adapter: with names of any tool.

    Yields:
        The layers of every module, see `layers_of`.

    Raises:
        LorafoldError: modules or additive tensors that do not fit the model.
    """
    parts = layers_of(model, adapter)
    with ExitStack() as stack:
        for parameter, value in _changed_parameters(model, adapter):
            stack.enter_context(_replaced(parameter, value))
        held = {name: _held(module, parts[name][0].layer) for name, module in adapter.modules.items()}
        stack.enter_context(attached_factors(parts, held.__getitem__))
        for part, bias in _biases(adapter, parts):
            stack.enter_context(_hooked(part.layer, partial(_add_bias, part, bias)))
        yield parts


@contextmanager
def attached_factors(layers: Mapping[str, tuple[Part, ...]], factors: Factors) -> Iterator[None]:
    """Updates up @ down are on inside; gradients reach the factors.

    Args:
        layers: of every module, see `layers_of`.
        factors: asked for the factors of a module, by its name, at each forward pass of its layer.
    """
    with ExitStack() as stack:
        for name, parts in layers.items():
            for part in parts:
                stack.enter_context(_hooked(part.layer, partial(_add_update, part, name, factors)))
        yield


def input_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """What a layer with one input was called with."""
    return args[0] if args else next(iter(kwargs.values()))


@contextmanager
def _hooked(layer: nn.Module, hook: Hook) -> Iterator[None]:
    handle = layer.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _add_update(
    part: Part,
    name: str,
    factors: Factors,
    _: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: Tensor,
) -> Tensor:
    """The layer's output and that of its update, which is computed in float32 at the least, as PEFT does."""
    x, (up, down) = input_of(args, kwargs), factors(name)
    dtype = torch.promote_types(torch.promote_types(output.dtype, up.dtype), torch.float32)
    up, down = (factor.to(output.device, dtype) for factor in (part.own(up), down))
    added = _update(inner_layer(part.layer), x.to(dtype) if x.is_floating_point() else x, up, down)
    return (output + added).to(output.dtype)


def _update(layer: Any, x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """ΔW x as the layer would compute W x."""
    if isinstance(layer, nn.Embedding):
        return F.linear(F.embedding(x, down.mT), up) * getattr(layer, "embed_scale", 1.0)
    if not isinstance(layer, _ConvNd):
        return F.linear(F.linear(x, down), up)
    convolved: Callable[..., Tensor] = layer._conv_forward
    if layer.groups > 1:  # the factors of a whole update know no groups
        return convolved(x, (up @ down).reshape(layer.weight.shape), None)
    inner = convolved(x, down.reshape(-1, *layer.weight.shape[1:]), None)
    channels = -1 - len(layer.kernel_size)
    return F.linear(inner.movedim(channels, -1), up).movedim(-1, channels)


def _add_bias(
    part: Part, bias: Tensor, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
) -> Tensor:
    inner = inner_layer(part.layer)
    own = part.own(bias).to(output.device, torch.promote_types(output.dtype, torch.float32))
    spatial = len(inner.kernel_size) if isinstance(inner, _ConvNd) else 0
    return (output + own.reshape(-1, *[1] * spatial)).to(output.dtype)


def _held(module: Module, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """The factors where the layer is, with the scale in `up`."""
    device = next((parameter.device for parameter in layer.parameters()), torch.device("cpu"))
    dtype = torch.promote_types(module.up.dtype, torch.float32)
    return module.up.to(device, dtype) * module.scale, module.down.to(device, dtype)


def _biases(adapter: Adapter, parts: Mapping[str, tuple[Part, ...]]) -> Iterator[tuple[Part, Tensor]]:
    """What is added to the outputs: the biases of modules, and additive tensors for the biases of adapted layers."""
    for name, module in adapter.modules.items():
        if module.bias is not None:
            yield from ((part, module.bias * module.scale) for part in parts[name])
        if (delta := adapter.deltas.get(f"{name}.diff_b")) is not None:
            yield from ((part, delta) for part in parts[name])


def _changed_parameters(model: Any, adapter: Adapter) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Parameters with the values that additive tensors and whole weights give them."""
    names = {key: key.rpartition(".")[0] for key in adapter.deltas}
    layers = layers_named(model, adapter, set(names.values()))
    for key, delta in adapter.deltas.items():
        suffix = key.rpartition(".")[2]
        if suffix == "diff_b" and names[key] in adapter.modules:
            continue
        parameter = getattr(layers.get(names[key]), _CHANGES.get(suffix, ""), None)
        if parameter is None or parameter.numel() != delta.numel():
            raise LorafoldError(
                "an additive tensor without a place in the model",
                path=adapter.path,
                key=key,
                remedy="Give the model that the adapter was trained on, or remove this tensor.",
            )
        yield parameter, parameter.data + delta.reshape(parameter.shape).to(parameter)
    yield from _whole_weights(model, adapter)


def _whole_weights(model: Any, adapter: Adapter) -> Iterator[tuple[nn.Parameter, Tensor]]:
    keys = {key: key.removeprefix(_PEFT_PREFIX).replace(".base_layer.", ".").rpartition(".") for key in adapter.extras}
    layers = layers_named(model, adapter, {name for name, _, _ in keys.values()})
    missing = []
    for key, value in adapter.extras.items():
        name, _, attribute = keys[key]
        parameter = getattr(layers.get(name), attribute, None)
        if isinstance(parameter, nn.Parameter) and parameter.ndim == value.ndim:
            yield parameter, value.to(parameter)
        else:
            missing.append(key)
    if missing:
        _log.warning(
            "%s: %s: the model has no place for this weight (%d such): left out. A head that only the adapter has "
            "changes nothing in the layers before it.",
            adapter.path,
            missing[0],
            len(missing),
        )


@contextmanager
def _replaced(parameter: nn.Parameter, value: Tensor) -> Iterator[None]:
    """Another tensor in the place of a parameter's; the old one is put back, not computed."""
    before = parameter.data
    parameter.data = value
    try:
        yield
    finally:
        parameter.data = before
