"""From factors and whole tensors to an adapter of the format that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lorafold.adapters import FORMATS, Adapter, Format
from lorafold.adapters.checkpoints.layout import Layout
from lorafold.adapters.conversion.convert import convert, usual_style
from lorafold.adapters.conversion.language import FORMATS as LANGUAGE_FORMATS
from lorafold.adapters.metadata.header import merged_metadata
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.extract.findings import Change
from lorafold.pipelines.extract.layer import Extracted, Models
from lorafold.pipelines.extract.pairs import Pairs
from lorafold.pipelines.extract.settings import ExtractSettings

_PREFIX = "base_model.model."
_SUFFIXES = {"weight": "diff", "bias": "diff_b"}  # in files of kohya and ComfyUI


def format_for(base: Layout, settings: ExtractSettings) -> Format:
    """The format as asked for, else the usual one of such models.

    Raises:
        LorafoldError: one that adapters of such models do not come in, or that has no place for biases.
    """
    form = FORMATS[settings.format or ("kohya" if base.naming else "peft")]
    path = base.checkpoint.path
    if base.naming is None and form.name not in ("peft", *LANGUAGE_FORMATS):
        raise LorafoldError(
            f"format={form.name}, for image models that lorafold knows by name, and this is none",
            path=path,
            remedy="Write format=peft, or leave it out.",
        )
    if base.naming is not None and form.name in LANGUAGE_FORMATS:
        raise LorafoldError(
            f"format={form.name}, for language models, and this is none", path=path, remedy="Leave format= out."
        )
    if settings.biases and not {"an additive tensor", "a whole weight"} & {*form.holds}:
        raise LorafoldError(
            f"biases=true, and a file of format {form.name} holds factors only",
            remedy="Write format=kohya, comfyui or peft.",
        )
    return form


def style_for(form: Format, base: Layout) -> str | None:
    """Of the names in the adapter; None: the models' own."""
    return usual_style(form.style, base.naming) if form.style and base.naming else None


def adapter_of(
    layers: Sequence[Extracted], whole: Sequence[Change], pairs: Pairs, models: Models, form: Format
) -> Adapter:
    """The adapter.

    Raises:
        LorafoldError: layers of several models of a pipeline, and a format of one.
    """
    native = FORMATS["peft"] if form.name in LANGUAGE_FORMATS else form
    _check_one_model(layers, whole, native, models)
    modules = {layer.module.name: layer.module for layer in layers}
    adapter = Adapter(native.name, modules, path=models.tuned.checkpoint.path)
    if native.name == "peft":
        adapter = _with_peft(adapter, layers, whole, pairs, models)
    else:
        deltas = {f"{change.pair.name}.{_SUFFIXES[change.pair.leaf]}": change.delta for change in whole}
        adapter = replace(adapter, deltas=deltas)
    converted = adapter if form is native else convert(adapter, form.name, models.base.checkpoint.path)
    ranks = [module.rank for module in converted.modules.values()]
    return replace(converted, metadata=merged_metadata([adapter], [1.0], ranks, form=form.name))


def _check_one_model(layers: Sequence[Extracted], whole: Sequence[Change], form: Format, models: Models) -> None:
    pairs = [*(layer.pair for layer in layers), *(change.pair for change in whole)]
    components = dict.fromkeys(pair.component for pair in pairs)
    if form.one_model and len(components) > 1:
        raise LorafoldError(
            f"{', '.join(components)} changed, but an adapter of format {form.name} is for one model",
            path=models.tuned.checkpoint.path,
            remedy="Write format=kohya or diffusers, or name the folders of one component.",
        )


def _with_peft(
    adapter: Adapter, layers: Sequence[Extracted], whole: Sequence[Change], pairs: Pairs, models: Models
) -> Adapter:
    """With biases and norms as PEFT has them, whole, and what its configuration must say."""
    norms = dict.fromkeys(change.pair.own for change in whole if _is_norm(change, pairs))
    kept: dict[str, Tensor] = {}
    for pair in pairs.layers:
        if pair.own in norms:
            value = models.tuned.read(pair.tuned).flatten()
            kept[f"{_PREFIX}{pair.name}.{pair.leaf}"] = value
    biases = [change for change in whole if change.pair.own not in norms]
    for change in biases:
        inner = ".base_layer" if change.pair.name in adapter.modules else ""
        kept[f"{_PREFIX}{change.pair.name}{inner}.bias"] = change.value
    config: dict[str, Any] = {
        "base_model_name_or_path": str(models.base.checkpoint.path),
        "fan_in_fan_out": any(layer.pair.base.transposed and layer.module.kind == "linear" for layer in layers),
        "modules_to_save": [pair.name for pair in pairs.layers if pair.own in norms and pair.leaf == "weight"] or None,
        "bias": "all" if biases else "none",
    }
    return replace(adapter, extras=kept, config=config)


def _is_norm(change: Change, pairs: Pairs) -> bool:
    """Whether the layer has a weight that is a vector."""
    return any(pair.own == change.pair.own and pair.leaf == "weight" and pair.is_vector for pair in pairs.layers)
