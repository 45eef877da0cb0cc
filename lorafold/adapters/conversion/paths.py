"""One layer under several names: the same path behind different wrappers of the model, with dots or underscores.

No dictionary is needed for that, so it holds for any model. Wrappers are what trainers, compilers and versions of
libraries put in front: "diffusion_model." and "transformer.", "_orig_mod.", and in vision-language models of
transformers "model.", "language_model.model." or "model.language_model.".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from lorafold.adapters.adapter import Adapter

_WRAPPER = re.compile(
    r"(?:base_model\.model\.|_orig_mod\.|module\.|diffusion_model\.|model\.|language_model\.|transformer\.|unet\."
    r"|lora_unet_|lora_transformer_|lycoris_)*"
)
_PEFT = "base_model.model."


def wrapped(name: str) -> tuple[str, str]:
    """What stands in front, and the path behind."""
    match = _WRAPPER.match(name)
    front = match[0] if match else ""
    return front, name[len(front) :]


def same_path(name: str) -> str:
    """What is equal for two names of one layer."""
    return wrapped(name)[1].rstrip("_").replace(".", "_")


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
