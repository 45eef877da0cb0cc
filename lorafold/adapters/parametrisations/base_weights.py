"""Weights of a base model, found by the names that adapters give its layers, and read one layer at a time.

A file, or a folder with the files of a checkpoint (shards too) or with one folder per component (diffusers).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor

from lorafold.adapters.files.factor_pair import floating
from lorafold.adapters.files.model_files import shards
from lorafold.adapters.files.tensor_file import TensorFile, open_tensors
from lorafold.adapters.module import Module
from lorafold.adapters.naming import ARCHITECTURES, STYLES, places
from lorafold.adapters.naming.paths import COMPONENTS
from lorafold.common.errors import LorafoldError
from lorafold.common.homes import with_home

_SUFFIX = ".weight"


@dataclass(frozen=True, eq=False)
class BaseWeights:
    """An open base model.

    Args:
        path: as named by the user.
        tensors: by component and key; the file, and the key in it.
        tails: every end of such a name with dots replaced by underscores, and the names that end so.
    """

    path: Path
    tensors: Mapping[str, tuple[TensorFile, str]]
    tails: Mapping[str, list[str]]

    def matrix(self, module: Module, transposed: bool) -> Tensor:
        """The weight (m, n) of the layer that a module adapts; stored as (n, m) if `transposed`.

        Raises:
            LorafoldError: no such layer, more than one, or one of another shape or dtype.
        """
        name = self._find(module, transposed)
        file, key = self.tensors[name]
        weight = floating(file, key, float8=False).flatten(1)
        return weight.mT if transposed else weight

    def _find(self, module: Module, transposed: bool) -> str:
        shape = module.shape[::-1] if transposed else module.shape
        for query, whole in chain(queries(module.name), _aliases(module.name)):
            names = [name for name in self.tails.get(query, []) if not whole or name.replace(".", "_") == query]
            fitting = [name for name in names if self._shape(name) == shape]
            if len(fitting) == 1:
                return fitting[0]
            if names:
                raise self._unclear(module, names, fitting)
        raise LorafoldError(
            f"the base model has no layer {module.name}",
            path=self.path,
            remedy="Name the model that the adapter was trained on, best as a folder in diffusers' layout.",
        )

    def _shape(self, name: str) -> tuple[int, int]:
        """Flattened to two axes."""
        file, key = self.tensors[name]
        tensor = file.tensors[key]
        return (len(tensor), tensor.numel() // max(1, len(tensor))) if tensor.ndim else (0, 0)

    def _unclear(self, module: Module, names: list[str], fitting: list[str]) -> LorafoldError:
        what = "layers of" if fitting else "other shapes than"
        listing = ", ".join(f"{name} {self._shape(name)}" for name in (fitting or names)[:3])
        return LorafoldError(
            f"{listing}: {what} the shape {module.shape} that the adapter has there, expected exactly one",
            path=self.path,
            key=module.name,
            remedy="Name the model that the adapter was trained on, without further checkpoints beside it.",
        )


def open_base(path: str | Path) -> BaseWeights:
    """Map the files of a base model.

    Raises:
        LorafoldError: nothing there, or no safetensors files.
    """
    path = with_home(path)
    if not path.exists():
        raise LorafoldError("no such file or folder", path=path, remedy="base= names the weights of a model.")
    tensors: dict[str, tuple[TensorFile, str]] = {}
    for component, part in _files(path):
        file = open_tensors(part)
        for key in file.tensors:
            if key.endswith(_SUFFIX):
                tensors.setdefault(f"{component}{key.removesuffix(_SUFFIX)}", (file, key))
    if not tensors:
        raise LorafoldError("holds no weights as safetensors", path=path, remedy="Name a folder or file that does.")
    return BaseWeights(path, tensors, tails_of(tensors))


def weights_of(path: Path, layers: Mapping[str, Tensor]) -> BaseWeights:
    """Those of a model in memory, by the whole names of its layers; `path` for messages."""
    file = TensorFile(path, dict(layers), {})
    tails = {name.replace(".", "_"): [name] for name in layers}
    return BaseWeights(path, {name: (file, name) for name in layers}, tails)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(component with its dot, file); variants such as *.fp16.safetensors come after what they are variants of."""
    if path.is_file():
        yield "", path
        return
    for folder in (path, *sorted(entry for entry in path.iterdir() if entry.is_dir())):
        component = "" if folder == path else f"{folder.name}."
        files = _listed(folder) or folder.glob("*.safetensors")
        yield from ((component, file) for file in sorted(files, key=lambda file: (len(file.name), file.name)))


def _listed(folder: Path) -> list[Path]:
    """The shards that an index names, if there is one."""
    return next((shards(index) for index in sorted(folder.glob("*.safetensors.index.json"))), [])


def tails_of(names: Mapping[str, object]) -> dict[str, list[str]]:
    tails: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts = name.split(".")
        for start in range(len(parts)):
            tails["_".join(parts[start:])].append(name)
    return dict(tails)


def queries(name: str) -> Iterator[tuple[str, bool]]:
    """Ends of names that the layer may have, the surest first, and whether nothing may precede them.

    One of the two names may begin with what wraps the model, such as "bert." of a task's head, but not both.
    """
    for prefix, components in COMPONENTS.items():
        if name.startswith(prefix):
            path = name.removeprefix(prefix).replace(".", "_")
            yield from ((f"{component}_{path}", False) for component in components)
            yield path, False
            return
    parts = name.split(".")
    for start in range(len(parts)):
        yield "_".join(parts[start:]), start > 0


def _aliases(name: str) -> Iterator[tuple[str, bool]]:
    """The same in the names of the original code and of diffusers, for a layer that is one layer in both."""
    for architecture in ARCHITECTURES:
        for style in STYLES:
            place = places(architecture, style).get(name)
            if place is not None and len(place.entry.diffusers) == 1:
                yield place.entry.original.replace(".", "_"), False
                yield place.entry.diffusers[0].replace(".", "_"), False
