"""An adapter in another format: the same updates under the names that the other tools look for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.conversion.language import FORMATS as LANGUAGE_FORMATS
from lorafold.adapters.conversion.language import as_transformers, for_tool
from lorafold.adapters.conversion.paths import under_names
from lorafold.adapters.conversion.relabel import relabelled, targets
from lorafold.adapters.formats.diffusers_config import METADATA_KEY
from lorafold.adapters.formats.registry import FORMATS
from lorafold.adapters.metadata.base_model import stated_base
from lorafold.adapters.metadata.header import HASHES
from lorafold.adapters.naming import (
    ARCHITECTURES,
    Naming,
    has_proportions,
    has_whole_depth,
    has_width,
    namings,
    nearest,
    places,
)
from lorafold.adapters.naming.paths import wrapped
from lorafold.common.errors import LorafoldError, suggest

# Entries about the bytes and the layout of the old file.
_STALE = (*HASHES, METADATA_KEY)


def convert(adapter: Adapter, format: str, base: str | Path | None = None, model: str | None = None) -> Adapter:
    """The adapter in `format`, with the same Delta W for every layer of the model.

    Layers that one side fuses (q, k and v of Flux and SD3) are split exactly, or fused into a block-diagonal `up` whose
    rank is the sum of the parts' unless they share their `down`. An adapter that is in this format already and whose
    names are the usual ones of it, or unknown, is returned as it is.

    Args:
        adapter: of an architecture that `names` knows.
        format: key of `FORMATS`.
        base: folder of the base model, on whose config.json the files of llama.cpp and torchtune depend.
        model: which architecture it is for; None: as names, shapes and metadata say.

    Raises:
        LorafoldError: an unknown format or architecture, or something that the format cannot hold.
    """
    form = FORMATS[format]
    if adapter.format != form.name and {adapter.format, form.name} & {*LANGUAGE_FORMATS}:
        _check_no_model(model)
        return between_tools(adapter, form.name, base)
    if form.style is None:
        check_holds(adapter, form.name)
        return adapter if adapter.format == form.name else replace(adapter, format=form.name, config={})
    known = namings(adapter.modules)
    if not known and (plain := _unwrapped(adapter)) is not None:
        return convert(plain, format, model=model)
    known = known if model is None else [named_model(adapter, known, model)]
    candidates = [(naming, usual_style(form.style, naming)) for naming in known]
    names = tuple(adapter.modules)
    usual = any(targets(names, naming, style) == names for naming, style in candidates)
    if adapter.format == form.name and (usual or not candidates):
        return adapter
    if not candidates:
        raise unknown_layer(adapter, f"cannot be renamed for {form.name}")
    renewed = in_format(adapter, *choose(adapter, candidates), form.name)
    return replace(renewed, metadata={k: v for k, v in adapter.metadata.items() if not k.startswith(_STALE)})


def _check_no_model(model: str | None) -> None:
    if model is not None:
        raise LorafoldError(
            f"model={model} names a model of images, but mlx, gguf and torchtune are formats of language models",
            remedy="Leave model= out; what they depend on is base=FOLDER.",
        )


def between_tools(
    adapter: Adapter, format: str, base: str | Path | None = None, like: Adapter | None = None
) -> Adapter:
    """The adapter of a language model in another format, where one of the two is for such models alone.

    Args:
        base: see `convert`.
        like: an adapter of the format, for a model of the same kind.

    Raises:
        LorafoldError: a layer that the other tool does not have, or something that depends on the base model.
    """
    plain = as_transformers(adapter, base) if adapter.format in LANGUAGE_FORMATS else adapter
    if format not in LANGUAGE_FORMATS:
        return convert(plain, format)
    check_holds(plain, format)
    return for_tool(plain, format, base, like)


def _unwrapped(adapter: Adapter) -> Adapter | None:
    """The adapter under names that a dictionary knows, if only wrappers or a last underscore keep it from that."""
    paths = {name: wrapped(name)[1].rstrip("_") for name in adapter.modules}
    for names in (paths, {name: f"lora_unet_{path.replace('.', '_')}" for name, path in paths.items()}):
        if list(names) != list(names.values()) and namings(list(names.values())):
            return under_names(adapter, lambda name, names=names: names.get(name, name))  # type: ignore[misc]
    return None


def usual_style(style: str, naming: Naming) -> str:
    """Of kohya's and ComfyUI's there are several, and each architecture has its own."""
    architecture = ARCHITECTURES[naming.architecture]()
    return {"kohya": architecture.kohya, "comfyui": architecture.comfyui}.get(style, style)


Choice = tuple[Naming, str]


def named_model(adapter: Adapter, known: Sequence[Naming], model: str) -> Naming:
    """The naming of the architecture `model`, if names, shapes and metadata allow it.

    Raises:
        LorafoldError: no such architecture, or something contradicts it.
    """
    names = [name for name in ARCHITECTURES if name != "others"]
    if model not in names:
        raise LorafoldError(
            f"model={model}, expected one of {', '.join(names)}",
            remedy=f"For example model=flux.{suggest(model, names)}",
        )
    title = ARCHITECTURES[model]().title
    mine = [naming for naming in known if naming.architecture == model]
    if not mine:
        raise LorafoldError(
            f"model={model}, but its names are not those of {title}"
            + (f", they are those of {titles(known)}" if known else ""),
            path=adapter.path,
            key=next(iter(adapter.modules)),
            remedy="Name the model that it was trained on, or leave model= out.",
        )
    shapes = {name: module.shape for name, module in adapter.modules.items()}
    plausible(adapter, mine)
    rivals = [naming for naming in known if naming not in mine and has_width(naming, shapes)]
    if rivals and not has_width(mine[0], shapes) and ARCHITECTURES[model]().widths:
        raise LorafoldError(
            f"model={model}, but its layers are as wide as those of {titles(rivals)}, not of {title}",
            path=adapter.path,
            remedy="Name the model that it was trained on, or leave model= out.",
        )
    return mine[0]


def choose(adapter: Adapter, candidates: Sequence[Choice]) -> Choice:
    """The (naming, style to bring it to) that fits, where several give different names.

    Raises:
        LorafoldError: neither names nor shapes nor metadata tell which.
    """
    fitting = plausible(adapter, [naming for naming, _ in candidates])
    remaining = [choice for choice in candidates if choice[0] in fitting]
    if len({targets(adapter.modules, naming, style) for naming, style in remaining}) > 1:
        raise _ambiguous(adapter, fitting)
    return remaining[0]


def plausible(adapter: Adapter, candidates: Sequence[Naming]) -> list[Naming]:
    """Those of the namings that fit all names which are for the base model that metadata, shapes and blocks say.

    Raises:
        LorafoldError: metadata or shapes contradict all of them.
    """
    shapes = {name: module.shape for name, module in adapter.modules.items()}
    remaining = list(candidates)
    stated = stated_base(adapter)
    if stated and stated.fits:
        remaining = [n for n in remaining if not stated.fits.isdisjoint(ARCHITECTURES[n.architecture]().titles)]
        if candidates and not remaining:
            what = f"it is for {' or '.join(sorted(stated.fits))} ({stated.evidence})"
            raise _contradicted(adapter, candidates, what)
    remaining = [naming for naming in remaining if has_proportions(naming, shapes)]
    if candidates and not remaining:
        raise _contradicted(adapter, candidates, "its shapes are not")
    remaining = [naming for naming in remaining if has_width(naming, shapes)] or remaining
    return [naming for naming in remaining if has_whole_depth(naming, shapes)] or remaining


def _contradicted(adapter: Adapter, candidates: Sequence[Naming], what: str) -> LorafoldError:
    return LorafoldError(
        f"its names are those of {titles(candidates)}, but {what}",
        path=adapter.path,
        key=next(iter(adapter.modules)),
        remedy="Keep its format, or correct its metadata.",
    )


def _ambiguous(adapter: Adapter, candidates: Sequence[Naming]) -> LorafoldError:
    models = dict.fromkeys(f"model={naming.architecture}" for naming in candidates if naming.architecture != "others")
    return LorafoldError(
        f"by its names it could be for {titles(candidates)}, whose layers have different names elsewhere",
        path=adapter.path,
        key=next(iter(adapter.modules)),
        remedy=f"Say which: {' or '.join(models)}." if models else "Keep its format.",
    )


def titles(candidates: Sequence[Naming]) -> str:
    """The base models that they are for, in words."""
    return " or ".join(dict.fromkeys(ARCHITECTURES[naming.architecture]().title for naming in candidates))


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
    best, names = nearest(list(adapter.modules))
    matched = len(adapter.modules) - len(names)
    guess = f"{titles(best)}, of which {matched} other layers are" if matched else "any architecture known by name"
    return LorafoldError(
        f"not a layer of {guess}, so it {consequence}",
        path=adapter.path,
        key=names[0],
        remedy=f"Known are {', '.join(known_titles())}; other models keep the format of their file.",
    )


def known_titles() -> tuple[str, ...]:
    """The base models whose names every tool's files can have."""
    return tuple(title for name, build in ARCHITECTURES.items() if name != "others" for title in build().titles)
