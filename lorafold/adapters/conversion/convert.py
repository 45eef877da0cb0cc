"""An adapter in another format: the same updates under the names that the other tools look for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.conversion.relabel import relabelled, targets
from lorafold.adapters.formats.diffusers_config import METADATA_KEY
from lorafold.adapters.formats.registry import FORMATS
from lorafold.adapters.metadata.header import HASHES
from lorafold.adapters.naming import ARCHITECTURES, Naming, hinted, namings, nearest, places
from lorafold.common.errors import LorafoldError

# Entries about the bytes and the layout of the old file.
_STALE = (*HASHES, METADATA_KEY)


def convert(adapter: Adapter, format: str) -> Adapter:
    """The adapter in `format`, with the same Delta W for every layer of the model.

    Layers that one side fuses (q, k and v of Flux and SD3) are split exactly, or fused into a block-diagonal `up` whose
    rank is the sum of the parts' unless they share their `down`. An adapter that is in this format already and whose
    names are the usual ones of it, or unknown, is returned as it is.

    Args:
        adapter: of an architecture that `names` knows.
        format: key of `FORMATS`.

    Raises:
        LorafoldError: an unknown format or architecture, or something that the format cannot hold.
    """
    form = FORMATS[format]
    if form.style is None:
        check_holds(adapter, form.name)
        return adapter if adapter.format == form.name else replace(adapter, format=form.name, config={})
    candidates = [(naming, _style(form.style, naming)) for naming in namings(adapter.modules)]
    names = tuple(adapter.modules)
    usual = any(targets(names, naming, style) == names for naming, style in candidates)
    if adapter.format == form.name and (usual or not candidates):
        return adapter
    if not candidates:
        raise unknown_layer(adapter, f"cannot be renamed for {form.name}")
    renewed = in_format(adapter, *choose(adapter, candidates), form.name)
    return replace(renewed, metadata={k: v for k, v in adapter.metadata.items() if not k.startswith(_STALE)})


def _style(style: str, naming: Naming) -> str:
    """The style of the names: kohya has several, one for each architecture."""
    return ARCHITECTURES[naming.architecture]().kohya if style == "kohya" else style


def choose(adapter: Adapter, candidates: Sequence[tuple[Naming, str]]) -> tuple[Naming, str]:
    """The (naming, style to bring it to) that fits, where several give different names.

    Raises:
        LorafoldError: neither names nor widths tell which.
    """
    outcomes = {targets(adapter.modules, naming, style): (naming, style) for naming, style in reversed(candidates)}
    if len(outcomes) == 1:
        return candidates[0]
    widths = {name: module.shape[1] for name, module in adapter.modules.items()}
    fitting = [choice for choice in outcomes.values() if hinted(choice[0], widths)]
    if len(fitting) == 1:
        return fitting[0]
    several = ", ".join(dict.fromkeys(naming.architecture for naming, _ in candidates))
    raise LorafoldError(
        f"its layers exist in several architectures ({several}), which name them differently there",
        path=adapter.path,
        key=next(iter(adapter.modules)),
        remedy="Convert it together with more layers, or keep its format.",
    )


def in_format(adapter: Adapter, naming: Naming, style: str, format: str) -> Adapter:
    """The adapter relabelled from `naming` to `style`, as one of `format`.

    Raises:
        LorafoldError: something that the format cannot hold.
    """
    check_holds(adapter, format)
    table = places(naming.architecture, naming.style)
    components = dict.fromkeys(table[name].component for name in adapter.modules)
    if FORMATS[format].one_model and len(components) > 1:
        raise LorafoldError(
            f"holds layers of {', '.join(components)}, but an adapter of format {format} is for one model",
            path=adapter.path,
            key=next(name for name in adapter.modules if table[name].component == list(components)[1]),
            remedy="Convert to diffusers or kohya, which hold several.",
        )
    return replace(relabelled(adapter, naming, style), format=format, config={})


def check_holds(adapter: Adapter, format: str) -> None:
    """Raise LorafoldError if the adapter has something that a file of `format` has no place for."""
    contents = [("an additive tensor", key) for key in adapter.deltas] + [("a whole weight", k) for k in adapter.extras]
    for module in adapter.modules.values():
        contents += [("a LoRA bias", module.name)] if module.bias is not None else []
        contents += [("an embedding", module.name)] if module.kind == "embedding" else []
    for what, key in contents:
        if what not in FORMATS[format].holds:
            able = " or ".join(name for name, form in FORMATS.items() if what in form.holds)
            raise LorafoldError(
                f"{what}, which a file of format {format} cannot hold",
                path=adapter.path,
                key=key,
                remedy=f"Keep it as {able}, or remove it.",
            )


def unknown_layer(adapter: Adapter, consequence: str) -> LorafoldError:
    """The refusal of an adapter with a name that is in no dictionary."""
    naming, names = nearest(list(adapter.modules))
    matched = len(adapter.modules) - len(names)
    guess = (
        f"{naming.architecture}, of which {matched} other layers are" if matched else "any architecture known by name"
    )
    return LorafoldError(
        f"not a layer of {guess}, so it {consequence}",
        path=adapter.path,
        key=names[0],
        remedy=f"Known are {', '.join(ARCHITECTURES)}; other models keep the format of their file.",
    )
