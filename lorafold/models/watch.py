"""What the layers of a model read while it runs: hooks before them, which add it up and let it pass.

n = in * prod(kernel), r = rank, t = vectors of one pass. Layers that read one tensor share one sum: query, key and
value, the gate and the upper projection of a feed-forward layer, all cross-attentions to one text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from lorafold.adapters import Adapter, Module
from lorafold.calibration.moments import RunningMoments
from lorafold.calibration.statistics import DIRECTIONS_DTYPE, LayerStatistics
from lorafold.common.errors import LorafoldError
from lorafold.models.attach import input_of
from lorafold.models.layers import Part, inner_layer
from lorafold.models.patches import reading, vectors


class _Identity:
    """Tells a tensor from others without keeping it alive; its memory may be another one's afterwards."""

    def __init__(self, x: Tensor) -> None:
        self._storage: Any = StorageWeakRef(x.untyped_storage())  # type: ignore[no-untyped-call]
        self._view = _view(x)

    def is_of(self, x: Tensor) -> bool:
        """Whether x is the same data, unchanged since."""
        other = _Identity(x)
        return not self._storage.expired() and self._storage == other._storage and self._view == other._view


def _view(x: Tensor) -> tuple[Any, ...]:
    version = None if x.is_inference() else x._version
    return x.storage_offset(), x.shape, x.stride(), x.dtype, version


@dataclass(eq=False)
class _Stream:
    """One input that layers read, by the first of them that reads it."""

    leader: str
    reading: tuple[Any, ...]
    moments: RunningMoments
    identity: _Identity
    generator: torch.Generator
    calls: int = 0


@dataclass(eq=False)
class _Site:
    """A module of the adapter, and what is known of its layer."""

    name: str
    layer: nn.Module
    down: Tensor  # (r, n)
    gram: Tensor  # of `up`, with the scale (r, r)
    energy: Tensor  # Σ‖ΔW x‖², ()
    stream: _Stream | None = None
    calls: int = 0
    count: int = 0


class Watch:
    """The statistics of the layers of an adapter, as far as the model has run."""

    def __init__(
        self, layers: Mapping[str, tuple[Part, ...]], adapter: Adapter, directions: int, share: bool = True
    ) -> None:
        """`share`: whether layers that read one tensor are looked for."""
        self.counted: Tensor | None = None  # which positions of the coming pass count (B, L)
        self._directions, self._share = directions, share
        self._streams: list[_Stream] = []
        self._sites = [_site(adapter.modules[name], parts[0].layer) for name, parts in layers.items()]
        self._last: tuple[_Stream, int, Tensor] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The model may run inside."""
        with ExitStack() as stack:
            for site in self._sites:
                if getattr(inner_layer(site.layer), "groups", 1) == 1:  # ΔW x of a convolution with groups is none

                    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], site: _Site = site) -> None:
                        self._see(site, input_of(args, kwargs).detach())

                    handle = site.layer.register_forward_pre_hook(hook, with_kwargs=True)
                    stack.callback(handle.remove)
            yield
            self._last = None

    def statistics(self) -> dict[str, LayerStatistics]:
        """Of the layers that the model has run, by the adapter's names; equal inputs are the same tensors.

        Raises:
            LorafoldError: an activation that is not finite.
        """
        found = {stream: _measured(stream, self._directions) for stream in self._streams if stream.moments.count}
        return {
            site.name: LayerStatistics(*found[site.stream], site.count, float(site.energy) / site.count)
            for site in self._sites
            if site.stream in found
        }

    def _see(self, site: _Site, x: Tensor) -> None:
        site.calls += 1
        stream = site.stream = site.stream or self._stream(site, x)
        leads = stream.leader == site.name
        if leads:
            stream.calls, stream.identity = site.calls, _Identity(x)
        elif stream.calls != site.calls or not stream.identity.is_of(x):
            raise LorafoldError(
                f"does not read what {stream.leader} reads, as in the first pass", key=site.name, remedy="share=False."
            )
        read = self._vectors(site, stream, x)
        if leads:
            _add(stream.moments, read)
        site.count += len(read)
        inner = site.down.mT[read] if read.ndim == 1 else read.to(site.down) @ site.down.mT
        site.energy += ((inner @ site.gram) * inner).sum().double()

    def _stream(self, site: _Site, x: Tensor) -> _Stream:
        """The one that this layer, which is called for the first time, has a part in from now on."""
        layer: Any = inner_layer(site.layer)
        how = reading(layer)
        for stream in self._streams if self._share else ():
            if stream.calls == 1 and stream.reading == how and stream.identity.is_of(x):
                return stream
        directions = 0 if isinstance(layer, nn.Embedding) else self._directions  # there C is diagonal
        wide = torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.float32
        moments = RunningMoments(site.down.shape[1], directions, x.device, wide)
        self._streams.append(_Stream(site.name, how, moments, _Identity(x), torch.Generator().manual_seed(0)))
        return self._streams[-1]

    def _vectors(self, site: _Site, stream: _Stream, x: Tensor) -> Tensor:
        """Those of the last layer, if it read the same."""
        if self._last is None or self._last[:2] != (stream, stream.calls):
            read = vectors(inner_layer(site.layer), x, self.counted, stream.generator)
            self._last = stream, stream.calls, read
        return self._last[2]


def _site(module: Module, layer: nn.Module) -> _Site:
    device = next((parameter.device for parameter in layer.parameters()), torch.device("cpu"))
    dtype = torch.promote_types(module.up.dtype, torch.float32)
    up, down = (factor.to(device, dtype) for factor in (module.up, module.down))
    return _Site(module.name, layer, down, up.mT @ up * module.scale**2, torch.zeros((), device=device).double())


def _add(moments: RunningMoments, read: Tensor) -> None:
    if read.ndim == 1:
        moments.add_tokens(read)
    else:
        moments.add(read)


def _measured(stream: _Stream, directions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Diagonal, directions and eigenvalues as they are kept: float32, the many numbers in float16; on the CPU."""
    diagonal = stream.moments.diagonal
    if not diagonal.isfinite().all():
        raise LorafoldError(
            "what this layer reads is not finite on these inputs",
            key=stream.leader,
            remedy="Run the model in float32 or bfloat16: dtype=float32.",
        )
    vectors, values = stream.moments.eigenpairs(directions)
    return diagonal.float().cpu(), vectors.to(DIRECTIONS_DTYPE).cpu(), values.float().cpu()
