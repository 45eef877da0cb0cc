"""What running a model on inputs means: a call of a torch module on a batch, or of a pipeline on prompts.

B = inputs of a batch, L = their positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Batch = Mapping[str, Any] | tuple[Any, ...] | list[Any] | Tensor


@dataclass(frozen=True)
class Pass:
    """A run of the model that is still to be.

    Args:
        run: does it.
        inputs: how many.
        counted: which positions of the inputs say something of the task (B, L); None: all.
    """

    run: Callable[[], Any]
    inputs: int
    counted: Tensor | None = None


def model_passes(
    model: nn.Module, batches: Iterable[Batch], needed: Iterable[nn.Module], skip_first: bool | None = None
) -> Iterator[Pass]:
    """A pass for each batch: a mapping is given as keywords, a tuple as arguments, a tensor alone.

    Padding, which `attention_mask` marks, does not count; nor does the first token of each input in a language model
    that reads from left to right: attention that has nowhere to go ends there, and its norm swamps all others.

    Args:
        model: a torch module.
        batches: what it takes; tensors are brought to its device.
        needed: layers that have to run: the head of a transformers model does not, if it has none of them.
        skip_first: whether the first token is left out; None: as the kind of model says.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    called = without_head(model, needed)
    skip = reads_from_left(model) if skip_first is None else skip_first
    for batch in batches:
        moved = _moved(batch, device)
        yield Pass(_call(called, moved), _size(moved), _counted(moved, skip))


def pipeline_passes(
    pipeline: Any, prompts: Iterable[Sequence[str]], steps: int, seed: int = 0, size: int | None = None
) -> Iterator[Pass]:
    """A pass for each list of prompts: the denoising of as many images (or videos) from seeded noise, not decoded.

    The model sees what it sees in use, guidance by an empty prompt and padded prompts too, so all positions count.

    Args:
        pipeline: of diffusers.
        prompts: lists of them.
        steps: of denoising.
        seed: of the noise.
        size: of the images in pixels; None: the pipeline's own.
    """
    extent = {} if size is None else {"height": size, "width": size}
    generator = torch.Generator().manual_seed(seed)
    for batch in prompts:

        def run(batch: Sequence[str] = batch) -> Any:
            return pipeline(
                prompt=list(batch), num_inference_steps=steps, output_type="latent", generator=generator, **extent
            )

        yield Pass(run, len(batch))


def recorded_calls(denoiser: nn.Module, passes: Iterable[Pass]) -> Iterator[dict[str, Any]]:
    """What the U-Net or transformer of a pipeline is called with in these passes, as keywords, one after the other.

    Given to the denoiser alone they are batches like others: its noise or velocity at the timesteps of the pass.
    """
    calls: list[dict[str, Any]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append({**dict(zip(_names(denoiser), args, strict=False)), **kwargs})

    handle = denoiser.register_forward_pre_hook(note, with_kwargs=True)
    try:
        for each in passes:
            each.run()
            yield from calls
            calls.clear()
    finally:
        handle.remove()


@contextmanager
def at_rest(model: Any) -> Iterator[None]:
    """No gradients, no dropout and no progress bars of the pipeline's own; all as before afterwards."""
    models = [model] if isinstance(model, nn.Module) else list(model.components.values())
    training = [layer for each in models if isinstance(each, nn.Module) for layer in each.modules() if layer.training]
    bars = getattr(model, "_progress_bar_config", {})
    try:
        for layer in training:
            layer.training = False
        if not isinstance(model, nn.Module):
            model.set_progress_bar_config(disable=True)
        with torch.no_grad():
            yield
    finally:
        for layer in training:
            layer.training = True
        if not isinstance(model, nn.Module):
            model.set_progress_bar_config(**bars)


def without_head(model: Any, needed: Iterable[nn.Module]) -> nn.Module:
    """The part of a transformers model that has all these layers: a head of a whole vocabulary costs much."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = getattr(whole, getattr(whole, "base_model_prefix", "") or "_", None)
    if not isinstance(body, nn.Module):
        return model
    layers = set(body.modules())
    return body if all(layer in layers for layer in needed) else model


def reads_from_left(model: Any) -> bool:
    """Whether this is a language model whose tokens see only those before them."""
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if kind is None or getattr(config, "is_encoder_decoder", False):
        return False
    from transformers.models.auto import modeling_auto

    causal, masked = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return kind in causal and (kind not in masked or bool(getattr(config, "is_decoder", False)))


def _names(module: nn.Module) -> list[str]:
    from inspect import signature

    return list(signature(module.forward).parameters)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(each, device) for key, each in value.items()}
    return tuple(_moved(each, device) for each in value) if isinstance(value, tuple | list) else value


def _call(model: nn.Module, batch: Any) -> Callable[[], Any]:
    if isinstance(batch, Mapping):
        return lambda: model(**batch)
    return lambda: model(*batch) if isinstance(batch, tuple) else model(batch)


def _size(batch: Any) -> int:
    """How many inputs a batch has: the length of its first tensor."""
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple) else (batch,)
    return next((len(value) for value in values if isinstance(value, Tensor) and value.ndim), 1)


def _counted(batch: Any, skip_first: bool) -> Tensor | None:
    if not isinstance(batch, Mapping):
        return None
    mask, ids = batch.get("attention_mask"), batch.get("input_ids")
    if mask is None and skip_first and isinstance(ids, Tensor) and ids.ndim == 2:
        mask = torch.ones_like(ids)
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        return None
    counted = mask.bool()
    return counted & (counted.cumsum(1) > 1) if skip_first else counted
