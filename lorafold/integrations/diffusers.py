"""The LoRAs of a live diffusers pipeline, without files: what their layers read.

from lorafold.integrations.diffusers import collect_statistics

pipeline.load_lora_weights("style.safetensors", adapter_name="style")
statistics = collect_statistics(pipeline, "style", prompts)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorafold.adapters import Adapter, Module
from lorafold.adapters.formats.diffusers_keys import DOWN, split_key
from lorafold.calibration.statistics import Statistics
from lorafold.common.errors import LorafoldError
from lorafold.integrations.peft import read_adapter
from lorafold.models.inputs import Corpus
from lorafold.models.layers import layers_of
from lorafold.models.run import at_rest, pipeline_passes
from lorafold.pipelines.calibrate.collect import DIRECTIONS, gathered, name_of
from lorafold.pipelines.merge.settings import MergeSettings


def collect_statistics(
    pipeline: Any,
    name: str,
    prompts: Sequence[str],
    *,
    directions: int = DIRECTIONS,
    steps: int = 4,
    seed: int = 0,
    size: int | None = None,
    batch: int = 1,
) -> Statistics:
    """What `lorafold calibrate` finds, of a LoRA that the pipeline has; layers have diffusers' names.

    Args:
        pipeline: of diffusers, in which this adapter alone is active, with weight 1.
        name: of the adapter in the pipeline.
        prompts: of its own task, a few dozen.
        directions: eigenpairs that are kept of what a layer reads.
        steps: of denoising.
        seed: of the noise that it starts from.
        size: of the images in pixels; None: the pipeline's own.
        batch: prompts that it runs at once.

    Raises:
        LorafoldError: an unknown adapter, another one that is active, no prompts, or activations that are not finite.
    """
    adapter = live_adapter(pipeline, name)
    layers, corpus = layers_of(pipeline, adapter), Corpus(tuple(prompts))
    with at_rest(pipeline):
        passes = pipeline_passes(pipeline, corpus.prompts(batch), steps, seed, size)
        return gathered(layers, adapter, passes, directions, corpus, name_of(pipeline))


def live_adapter(pipeline: Any, name: str) -> Adapter:
    """The adapter of that name in the models of a pipeline, as a file of diffusers would hold it.

    Raises:
        LorafoldError: an unknown adapter, or not this one alone is active.
    """
    adapted: dict[str, Any] = {
        key: each for key, each in pipeline.components.items() if getattr(each, "peft_config", None)
    }
    holding = {key: each for key, each in adapted.items() if name in each.peft_config}
    if not holding:
        known = ", ".join(dict.fromkeys(known for each in adapted.values() for known in each.peft_config))
        raise LorafoldError(f"the pipeline has no adapter {name!r}", remedy=f"It has {known or 'none'}.")
    if (active := _active(adapted.values())) != {name}:
        raise LorafoldError(
            f"the pipeline runs with {', '.join(sorted(active)) or 'no adapter'}, not with {name!r} alone",
            remedy=f"pipeline.set_adapters({name!r}).",
        )
    modules = {module.name: module for key, each in holding.items() for module in _modules(key, each, name)}
    return Adapter("diffusers", modules, path=Path(name))


def _active(models: Iterable[Any]) -> set[str]:
    """The adapters that any layer adds to its output."""
    layers = (layer for model in models for layer in model.modules() if hasattr(layer, "base_layer"))
    return {name for layer in layers if not layer.disable_adapters for name in layer.active_adapters}


def _modules(component: str, model: Any, name: str) -> Iterator[Module]:
    """Under the names that the reader of diffusers' files gives them."""
    for path, module in read_adapter(model, model.state_dict(), name, MergeSettings()).modules.items():
        known = split_key(f"{component}.{path}.{DOWN}")
        yield replace(module, name=known[0] if known else f"{component}.{path}")
