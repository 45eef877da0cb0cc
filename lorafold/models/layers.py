"""Where in a model the modules of an adapter act, whatever tool named them.

Names of kohya, diffusers and ComfyUI files are brought to diffusers' paths by `adapters.naming`; the model itself tells
which of several readings is right. Shapes: m = out, n = in * prod(kernel).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from lorafold.adapters import Adapter, Module
from lorafold.adapters.naming import ARCHITECTURES, STYLES, Style, canonical, namings, places
from lorafold.common.errors import LorafoldError

# A model alone has no component in front; and transformers 5 calls a CLIP's layers so.
_COMPONENT = re.compile(r"(?:unet|transformer|text_encoder(?:_[23])?)\.")
_CLIP = re.compile(r"(^|text_encoder(?:_2)?\.)text_model\.")


class Spot(NamedTuple):
    """What a name stands for in a model: the layers that hold its rows of outputs, one after the other.

    Args:
        paths: of the layers; none where the name stands for nothing.
        turned: whether the halves of the outputs change places.
    """

    paths: tuple[str, ...] = ()
    turned: bool = False


Reading = Callable[[str], Spot]


@dataclass(frozen=True, eq=False)
class Part:
    """A layer of a model, and which outputs of an update are its own.

    Args:
        layer: the layer, or PEFT's wrapper around it.
        start: the first of its rows of ΔW: 0, except where the adapter fuses layers that the model keeps apart.
        height: how many.
        turned: how far the rows of ΔW are rolled before, where two codes disagree on the order of halves.
    """

    layer: nn.Module
    start: int
    height: int
    turned: int = 0

    def own(self, outputs: Tensor) -> Tensor:
        """Of a tensor with a row per output of the update, the rows of this layer."""
        ordered = outputs.roll(self.turned, 0) if self.turned else outputs
        return ordered[self.start : self.start + self.height]


def layers_of(model: Any, adapter: Adapter) -> dict[str, tuple[Part, ...]]:
    """The layer of every module of the adapter; several where its name fuses what the model keeps apart.

    Args:
        model: a torch module (also a PEFT model), or a pipeline of diffusers.
        adapter: with names of any tool.

    Raises:
        LorafoldError: modules that are not in the model, or of another shape there: this is the wrong model.
    """
    layers = modules_of(model)
    read = _best(layers, _readings(model, layers, adapter.modules), adapter)
    _check(layers, read, adapter)
    parts = {name: tuple(_parts(layers, read(name))) for name in adapter.modules}
    _check_distinct(parts, adapter)
    return parts


def layers_named(model: Any, adapter: Adapter, names: Iterable[str]) -> dict[str, nn.Module]:
    """The layers, norms too, that names of the adapter's other tensors stand for, as far as the model has them."""
    layers = modules_of(model)
    readers = [_reader(layers, reading) for reading in _readings(model, layers, adapter.modules)]
    spots = {name: next((spot for read in readers if (spot := read(name)).paths), Spot()) for name in names}
    return {name: layers[spot.paths[0]] for name, spot in spots.items() if len(spot.paths) == 1}


def modules_of(model: Any) -> dict[str, nn.Module]:
    """Every module of a model by its path, which begins with the component in a pipeline."""
    if not isinstance(model, nn.Module):
        models = {name: each for name, each in model.components.items() if isinstance(each, nn.Module)}
        return {f"{name}.{path}": layer for name, each in models.items() for path, layer in modules_of(each).items()}
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return dict(inner.named_modules(remove_duplicate=False))


def inner_layer(layer: nn.Module) -> nn.Module:
    """The layer in PEFT's wrapper, or itself."""
    return getattr(layer, "base_layer", layer)


def shape_of(layer: nn.Module) -> tuple[int, int] | None:
    """(m, n) of the update of a layer; None if it is none that lorafold can adapt."""
    inner: Any = inner_layer(layer)
    # MultiheadAttention multiplies by the weight of this one without calling it.
    if isinstance(inner, _ConvTransposeNd | NonDynamicallyQuantizableLinear):
        return None
    if isinstance(inner, nn.Embedding):
        return inner.embedding_dim, inner.num_embeddings
    if isinstance(inner, _ConvNd):
        return inner.out_channels, inner.in_channels // inner.groups * math.prod(inner.kernel_size)
    if hasattr(inner, "in_features") and hasattr(inner, "out_features"):
        return inner.out_features, inner.in_features
    return (inner.nf, inner.nx) if hasattr(inner, "nf") and hasattr(inner, "nx") else None  # Conv1D of transformers


def _readings(model: Any, layers: Mapping[str, nn.Module], names: Iterable[str]) -> Iterator[Reading]:
    """What the names may mean, the most literal first."""
    yield _literal
    if prefix := getattr(model, "base_model_prefix", ""):  # with or without a head
        yield lambda name: Spot((f"{prefix}.{name}",))
        yield lambda name: Spot((name.removeprefix(f"{prefix}."),))
    for naming in namings(list(names)):
        yield partial(_canonical, naming.architecture, naming.style)
    for architecture in ARCHITECTURES:
        for style in (style for style in STYLES.values() if not (style.original or style.dotted)):
            yield partial(_unflattened, _flattened(architecture, style, layers))


def _literal(name: str) -> Spot:
    return Spot((name,))


def _canonical(architecture: str, style: str, name: str) -> Spot:
    place = places(architecture, style).get(name)
    if place is None:
        return Spot()
    return Spot(canonical(architecture, style, name), STYLES[style].original and place.entry.halves_swapped)


def _flattened(architecture: str, style: Style, layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """What the style calls the model's layers where it has underscores for dots, also those that no table lists."""
    names: dict[str, str] = {}
    for component in ARCHITECTURES[architecture]().components:
        if (prefix := component.prefixes.get(style.prefix)) is not None:
            own = component.prefixes["diffusers"]
            paths = [path for path in layers if path.startswith(own) or not _COMPONENT.match(path)]
            names |= {prefix + path.removeprefix(own).replace(".", "_"): path for path in paths}
    return names


def _unflattened(paths: Mapping[str, str], name: str) -> Spot:
    return Spot((paths[name],)) if name in paths else Spot()


def _in_model(layers: Mapping[str, nn.Module], spot: Spot) -> Spot:
    """With the paths as the model spells them; nothing if it lacks one."""
    spelt = [next((path for path in _spellings(path) if path in layers), "") for path in spot.paths]
    return Spot(tuple(spelt), spot.turned) if all(spelt) else Spot()


def _spellings(path: str) -> Iterator[str]:
    for whole in (path, _COMPONENT.sub("", path, count=1)):
        yield from (whole, _CLIP.sub(r"\1", whole))


def _best(layers: Mapping[str, nn.Module], readings: Iterable[Reading], adapter: Adapter) -> Reading:
    """The first one by which every module fits a layer, or by which most of those do."""
    fitting: dict[Reading, int] = {}
    for reading in readings:
        read = _reader(layers, reading)
        fitting[read] = sum(_misfit(layers, module, read(name)) is None for name, module in adapter.modules.items())
        if fitting[read] == len(adapter.modules):
            break
    return max(fitting, key=lambda read: fitting[read])


def _reader(layers: Mapping[str, nn.Module], reading: Reading) -> Reading:
    return lambda name: _in_model(layers, reading(name))


def _misfit(layers: Mapping[str, nn.Module], module: Module, spot: Spot) -> str | None:
    """What keeps a module from being an update of the layers there."""
    if not spot.paths:
        return "no layer of the model"
    first, shapes = layers[spot.paths[0]], [shape_of(layers[path]) for path in spot.paths]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return f"an update of a {type(first).__name__}, which is no layer that lorafold can adapt"
    m, n = sum(shape[0] for shape in known), known[0][1]
    kernel = getattr(inner_layer(first), "kernel_size", ())
    if module.shape != (m, n) or any(shape[1] != n for shape in known) or not _same_kernel(module.kernel, kernel):
        return f"ΔW is {_size(module.shape, module.kernel)}, but the model's layer is {_size((m, n), kernel)}"
    return None


def _same_kernel(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """A kernel of 1 x 1 is none."""
    return one == other or math.prod(one) == math.prod(other) == 1


def _size(shape: tuple[int, int], kernel: tuple[int, ...]) -> str:
    size = f"{shape[0]} x {shape[1]}"
    return f"{size} with a kernel of {' x '.join(map(str, kernel))}" if kernel else size


def _check(layers: Mapping[str, nn.Module], read: Reading, adapter: Adapter) -> None:
    misfits = {name: _misfit(layers, module, read(name)) for name, module in adapter.modules.items()}
    wrong = {name: misfit for name, misfit in misfits.items() if misfit}
    for name, misfit in wrong.items():
        raise LorafoldError(
            f"{misfit} ({len(wrong)} of the adapter's {len(misfits)} modules do not fit)",
            path=adapter.path,
            key=name,
            remedy="Give the model that the adapter was trained on.",
        )


def _check_distinct(parts: Mapping[str, tuple[Part, ...]], adapter: Adapter) -> None:
    """Two encoders of a pipeline look the same to whoever has one of them alone."""
    owners: dict[nn.Module, str] = {}
    for name, own in parts.items():
        for part in own:
            if owners.setdefault(part.layer, name) != name:
                raise LorafoldError(
                    f"the same layer of the model as {owners[part.layer]}",
                    path=adapter.path,
                    key=name,
                    remedy="Give the whole pipeline, not one model of it.",
                )


def _parts(layers: Mapping[str, nn.Module], spot: Spot) -> Iterator[Part]:
    """The layers one after the other, as their rows are in the update."""
    start = 0
    for path in spot.paths:
        m, n = shape_of(layers[path]) or (0, 0)
        yield Part(layers[path], start, m, n if spot.turned and m == 2 * n else 0)
        start += m
