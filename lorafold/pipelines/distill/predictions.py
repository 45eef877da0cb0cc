"""What the U-Net or transformer of a diffusion pipeline predicts: noise or velocity, at random timesteps.

s = inputs, h = numbers of a prediction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lorafold.common.errors import LorafoldError
from lorafold.models.run import at_rest, pipeline_passes
from lorafold.pipelines.distill.autocast import autocast
from lorafold.pipelines.distill.features import Features

_DENOISERS = ("unet", "transformer")


@dataclass(frozen=True)
class Predictions:
    """A denoiser, and of every input one call of it.

    Args:
        denoiser: the U-Net or transformer.
        calls: its keywords.
        dtype: of the forward passes where it is not the model's own.
    """

    denoiser: nn.Module
    calls: Sequence[Mapping[str, Any]]
    dtype: torch.dtype | None = None

    @property
    def count(self) -> int:
        return len(self.calls)

    @property
    def hash(self) -> str:
        digest = hashlib.sha256()
        for name, value in (item for call in self.calls for item in sorted(call.items())):
            shown = value.float().cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode()
            digest.update(name.encode() + shown)
        return digest.hexdigest()

    def __call__(self, index: Sequence[int]) -> Features:
        """One after the other, for they may differ in size."""
        predicted = torch.stack([self._predicted(self.calls[i]) for i in index])
        return Features((predicted,), torch.ones(len(index), 1, device=predicted.device))

    def _predicted(self, call: Mapping[str, Any]) -> Tensor:
        """(1, h)"""
        device = next(self.denoiser.parameters()).device
        with autocast(device, self.dtype):
            output = self.denoiser(**call)
        first = output if isinstance(output, Tensor) else output[0]
        return first.to(torch.promote_types(first.dtype, torch.float32)).reshape(1, -1)


def predictions(
    pipeline: Any, prompts: Iterable[str], *, steps: int, seed: int, dtype: torch.dtype | None = None
) -> Predictions:
    """One call for every prompt: at a random step of a denoising, which is broken off there.

    Args:
        pipeline: of diffusers, with the adapter on that the prompts are for.
        prompts: of its task.
        steps: of the denoisings; `seed`: of the noise and of the steps.
        dtype: of the forward passes to come.
    """
    denoiser = denoiser_of(pipeline)
    generator = torch.Generator().manual_seed(seed)
    with at_rest(pipeline):
        calls = []
        for number, prompt in enumerate(prompts):
            wanted = int(torch.randint(steps, (), generator=generator))
            calls.append(_call(pipeline, denoiser, prompt, steps, wanted, seed + number))
    return Predictions(denoiser, calls, dtype)


def denoiser_of(pipeline: Any) -> nn.Module:
    """Its U-Net or transformer.

    Raises:
        LorafoldError: it has neither.
    """
    for name in _DENOISERS:
        if isinstance(found := pipeline.components.get(name), nn.Module):
            return found
    raise LorafoldError(
        f"a {type(pipeline).__name__} without {' and '.join(_DENOISERS)}",
        key="base",
        remedy="Give a pipeline that makes images or videos by denoising.",
    )


class _ReachedError(Exception):
    """The step is there, and the rest of the denoising of no use."""


def _call(pipeline: Any, denoiser: nn.Module, prompt: str, steps: int, wanted: int, seed: int) -> dict[str, Any]:
    """What the denoiser is called with at a step, by itself."""
    calls: list[dict[str, Any]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append({**dict(zip(_names(denoiser), args, strict=False)), **kwargs})
        if len(calls) > wanted:
            raise _ReachedError

    handle = denoiser.register_forward_pre_hook(note, with_kwargs=True)
    try:
        for each in pipeline_passes(pipeline, [[prompt]], steps, seed):
            each.run()
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return calls[-1]


def _names(module: nn.Module) -> Iterator[str]:
    from inspect import signature

    yield from signature(module.forward).parameters
