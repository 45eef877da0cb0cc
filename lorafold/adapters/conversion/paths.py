"""One layer under several names: the same path behind different wrappers, with dots or underscores, of any model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.naming.paths import same_path, wrapped

_PEFT = "base_model.model."


def under_paths(other: Adapter, first: Adapter) -> Adapter | None:
    """`other` under the names that `first` has for the same paths.

    Layers that `first` lacks get its wrapper. None: no path in common, or one whose dots cannot be known.
    """
    mine, theirs = _by_path(first.modules), _by_path(other.modules)
    renamed = {theirs[path]: mine[path] for path in theirs if path in mine}
    if not renamed:
        return None
    spell = _speller(renamed)
    for name in other.modules:
        if name not in renamed:
            spelled = spell(name)
            if spelled is None or spelled in first.modules:
                return None
            renamed[name] = spelled
    if len(set(renamed.values())) < len(renamed):
        return None
    return under_names(other, lambda name: renamed.get(name) or spell(name) or name)


def _by_path(names: Iterable[str]) -> dict[str, str]:
    """Names by path, without those of which a file has two."""
    counts = Counter(map(same_path, names))
    return {path: name for name in names if counts[path := same_path(name)] == 1}


def _speller(renamed: dict[str, str]) -> Callable[[str], str | None]:
    """How the pairs of names say that a further name is spelled; None where they do not."""
    fronts: dict[str, Counter[str]] = {}
    for old, new in renamed.items():
        fronts.setdefault(wrapped(old)[0], Counter())[wrapped(new)[0]] += 1
    pairs = [(wrapped(old)[1].rstrip("_"), wrapped(new)[1].rstrip("_")) for old, new in renamed.items()]
    dotted = all(old == new for old, new in pairs)
    flat = all(old.replace(".", "_") == new for old, new in pairs)

    def spell(name: str) -> str | None:
        front, path = wrapped(name)
        if front not in fronts or not (dotted or flat):
            return None
        path = path.rstrip("_")
        return fronts[front].most_common(1)[0][0] + (path if dotted else path.replace(".", "_"))

    return spell


def under_names(adapter: Adapter, name_of: Callable[[str], str]) -> Adapter:
    """The adapter with every layer under its new name, and what lies beside the factors too."""
    modules = {(new := name_of(name)): replace(module, name=new) for name, module in adapter.modules.items()}
    deltas = {_moved(key, name_of): tensor for key, tensor in adapter.deltas.items()}
    extras = {_PEFT + name_of(key.removeprefix(_PEFT)): tensor for key, tensor in adapter.extras.items()}
    return replace(adapter, modules=modules, deltas=deltas, extras=extras)


def _moved(key: str, name_of: Callable[[str], str]) -> str:
    name, _, suffix = key.rpartition(".")
    return f"{name_of(name)}.{suffix}"
