"""The collection: a model and an adapter -> passes over a few inputs -> the second moments of what its layers read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lorafold.adapters import Adapter, load
from lorafold.calibration.content_hash import content_hash
from lorafold.calibration.statistics import Statistics
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home
from lorafold.common.text import shortened
from lorafold.models.attach import attached
from lorafold.models.layers import Part
from lorafold.models.run import Batch, Pass, at_rest, model_passes
from lorafold.models.watch import Watch
from lorafold.pipelines.calibrate.settings import CalibrateSettings

DIRECTIONS = CalibrateSettings.directions


def collect(
    model: nn.Module,
    adapter: str | Path | Adapter,
    batches: Iterable[Batch],
    *,
    directions: int = DIRECTIONS,
    skip_first: bool | None = None,
    share: bool = True,
    base: str | None = None,
) -> Statistics:
    """The statistics of an adapter on its own inputs, which tell a merge what matters to it.

    The model runs each batch once, with the adapter on and without gradients, and is as before afterwards. Nothing is
    kept of the inputs; what is kept grows with the layers and with `directions`, not with the inputs.

    Args:
        model: the torch module that the adapter was trained on, without it, on any device.
        adapter: a file, a folder or an adapter in memory.
        batches: what the model takes: mappings become keywords, tuples arguments, tensors are given alone. Padding is
            left out where a mapping has an `attention_mask`.
        directions: eigenpairs that are kept of each layer's second moment, >= 0.
        skip_first: whether the first token of each input is left out; None: in decoder-only language models.
        share: whether layers that read one tensor share their statistics.
        base: the model's weights, a file or folder, which DoRA, PiSSA and OLoRA adapters need; else the name of the
            model to note down; None: its own.

    Raises:
        LorafoldError: an adapter of another model, no batches, or activations that are not finite.
    """
    weights = with_home(base) if base and with_home(base).exists() else None
    read = adapter if isinstance(adapter, Adapter) else load(adapter, base=weights)
    seen = Seen(batches)
    with attached(model, read) as layers, at_rest(model):
        needed = [part.layer for parts in layers.values() for part in parts]
        passes = model_passes(model, seen, needed, skip_first)
        named = weights.name if weights else base or name_of(model)
        return gathered(layers, read, passes, directions, seen, named, share)


def gathered(
    layers: Mapping[str, tuple[Part, ...]],
    adapter: Adapter,
    passes: Iterable[Pass],
    directions: int,
    corpus: Any,
    base: str,
    share: bool = True,
) -> Statistics:
    """The statistics of the passes of a model in which the adapter is on; `corpus` has a `hash` when they are over.

    Raises:
        LorafoldError: no passes, or activations that are not finite.
    """
    if not isinstance(directions, int) or directions < 0:
        remedy = f"directions={DIRECTIONS}."
        raise LorafoldError(f"directions={directions!r}, expected a whole number >= 0", remedy=remedy)
    watch, inputs = Watch(layers, adapter, directions, share), 0
    with watch.watching():
        for each in passes:
            watch.counted = each.counted
            each.run()
            inputs += each.inputs
    if not inputs:
        raise LorafoldError("no inputs", path=adapter.path, remedy="Give a few dozen of the adapter's own task.")
    return Statistics(watch.statistics(), content_hash(adapter), corpus.hash, base, inputs)


def name_of(model: Any) -> str:
    """What a model calls itself: where it was loaded from, else its class."""
    config = getattr(model, "config", None)
    own = getattr(config, "_name_or_path", None) or getattr(model, "name_or_path", None)
    return shortened(str(own or type(model).__name__))


class Seen:
    """Batches, and a fingerprint of what they held: that of the same batches in another order too."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._digests: list[str] = []

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            self._digests.append(_digest(batch))
            yield batch

    @property
    def hash(self) -> str:
        return hashlib.sha256("".join(sorted(self._digests)).encode()).hexdigest()


def _digest(batch: Any) -> str:
    digest = hashlib.sha256()
    for key, value in batch.items() if isinstance(batch, Mapping) else enumerate(_listed(batch)):
        digest.update(f"{key} ".encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _listed(batch: Any) -> Iterable[Any]:
    return batch if isinstance(batch, tuple | list) else (batch,)
