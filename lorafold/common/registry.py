"""Names and what they stand for, open to other people's code: one kind of registry for rules, distances, formats, ...

A name is looked up among

1. the entries that a decorator has made: lorafold's own, and those of modules that are imported already;
2. the entry points of installed packages, in the registry's group: the module is imported when its name is asked for;
3. files at hand, `path/to/rule.py:my_rule`: the file is run, once, and its decorator makes the entry `my_rule`.

Free of torch and of Hydra.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from traceback import extract_tb
from types import ModuleType
from typing import Any, TypeVar

from lorafold.common.errors import LorafoldError, unknown
from lorafold.common.homes import with_home

T = TypeVar("T")
_AT_HAND = re.compile(r"(?P<path>.+\.py):(?P<name>[\w-]+)", re.DOTALL)


class Registry(Mapping[str, T]):
    """Entries by name: lorafold's own first, then those of installed packages, which iterating imports one by one.

    Args:
        kind: what an entry is called in messages.
        group: of the entry points of other packages, each called by the name that its module registers.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}  # the function of each entry, module and all

    def add(self, name: str, entry: T, function: Any) -> T:
        """Enter what a decorator has made of `function`; the same function again, as in a notebook, replaces it.

        Raises:
            LorafoldError: the name stands for another function.
        """
        origin = f"{function.__module__}.{function.__qualname__}"
        if self._origins.setdefault(name, origin) != origin:
            raise LorafoldError(
                f"the {self.kind} {name!r} of {origin} has the name of {self._origins[name]}",
                remedy="Choose another name.",
            )
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        """The entry of that name, imported or run if need be.

        Raises:
            LorafoldError: an unknown name, or code that does not give what it is to give.
        """
        if name in self._entries:
            return self._entries[name]
        if point := self._installed.get(name):
            source = f"{point.module} of the package {point.dist.name if point.dist else '?'}"
            with _mistakes_of(source):
                import_module(point.module)
            return self._registered(name, source)
        if at_hand := _AT_HAND.fullmatch(located(name)):
            _run(Path(at_hand["path"]))
            return self._registered(at_hand["name"], at_hand["path"])
        raise unknown(self.kind, name, self)

    def __contains__(self, name: object) -> bool:
        """Whether there is something to look up: a known name, or that of a file at hand."""
        exists = name in self._entries or name in self._installed
        return exists or is_at_hand(name)

    def __iter__(self) -> Iterator[str]:
        names = [*self._entries]
        yield from names
        yield from (name for name in self._installed if name not in names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _registered(self, name: str, by: str) -> T:
        if name not in self._entries:
            raise LorafoldError(f"{by} registers no {self.kind} {name!r}", remedy="Look for the decorator there.")
        return self._entries[name]

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        return installed(self.group)


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, sorted; nothing is imported."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def is_at_hand(name: object) -> bool:
    """Whether this is the name of something in a file, `path/to/file.py:name`."""
    return isinstance(name, str) and _AT_HAND.fullmatch(name) is not None


def located(name: Any) -> Any:
    """The name of something in a file at hand with the file's full path; anything else as it is."""
    if not is_at_hand(name):
        return name
    path, _, member = name.rpartition(":")
    return f"{with_home(path).resolve()}:{member}"


def import_siblings(package: str, path: Sequence[str]) -> None:
    """Import every module of a package, so that their decorators are run; for its `__init__`."""
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")


@cache
def _run(path: Path) -> ModuleType:
    """The module that a file is, called by its path; run once, however often it is asked for."""
    if not path.is_file():
        raise LorafoldError("no such file", path=path, remedy="Write path/to/file.py:name.")
    spec = spec_from_file_location(str(path), path)
    assert spec is not None and spec.loader is not None  # of every .py file
    module = sys.modules[spec.name] = module_from_spec(spec)  # before it is run: dataclasses look themselves up there
    with _mistakes_of(str(path)):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _mistakes_of(source: str) -> Iterator[None]:
    """Whatever other people's code raises, in one line; of a file, with the line."""
    try:
        yield
    except LorafoldError as error:
        raise LorafoldError(f"{source}: {error}") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == source]
        place = f"{source}, line {lines[-1]}" if lines else source
        raise LorafoldError(f"{place}: cannot be imported ({type(error).__name__}: {error})") from error
