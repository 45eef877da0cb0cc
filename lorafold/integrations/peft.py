"""The adapters of a live PEFT model, without files: merged, a sibling of PEFT's `add_weighted_adapter`, or measured.

    from lorafold.integrations.peft import add_merged_adapter

    add_merged_adapter(model, ["style", "subject"], [0.7, 0.3], "both", rank=16, objective="geodesic")
    model.set_adapter("both")

The model's state dict stands in for the files, so that the result is that of saving, merging and loading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lorafold.adapters import FORMATS, Adapter
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.formats.peft import parse
from lorafold.adapters.formats.peft_config import check_plain
from lorafold.adapters.formats.peft_export import export_config
from lorafold.adapters.parametrisations.base_weights import BaseWeights, weights_of
from lorafold.adapters.parametrisations.settle import resolve_pending
from lorafold.calibration.statistics import Statistics
from lorafold.common.errors import LorafoldError
from lorafold.common.settings import apply_changes
from lorafold.models.layers import layers_of
from lorafold.models.run import Batch, at_rest, model_passes
from lorafold.pipelines.calibrate.collect import DIRECTIONS, Seen, gathered, name_of
from lorafold.pipelines.merge.pipeline import MergeResult, merge
from lorafold.pipelines.merge.recipes import recipe as published
from lorafold.pipelines.merge.settings import MergeSettings

if TYPE_CHECKING:
    from peft import PeftModel

_PREFIX = "base_model.model."  # only a PeftModel writes it


def add_merged_adapter(
    model: PeftModel,
    adapters: Sequence[str],
    weights: Sequence[float] | None,
    adapter_name: str,
    method: str | None = None,
    **changes: Any,
) -> MergeResult:
    """Merge LoRA adapters of `model` into a new one of it, which is frozen and not active yet.

    Every update ΔW_i = s_i B_i A_i is taken with the scale of its configuration: rsLoRA, rank_pattern and
    alpha_pattern count. That of DoRA is W' - W, from the weights that the model has, cut to `input_rank`. `rank="max"`
    gives what PEFT calls "cat", the exact sum, at the least rank.

    Args:
        model: a `peft.PeftModel` with LoRA adapters of linear, convolutional or embedding layers.
        adapters: their names in the model; they may differ in rank and in the layers that they adapt.
        weights: one number per adapter, of any sign; None: `lorafold.merge` chooses their strengths.
        adapter_name: of the new adapter.
        method: a published method, by its name in `conf/method`, that sets what `changes` do not.
        changes: fields of `MergeSettings`, e.g. rank=16, objective="geodesic", core="ties", scale=0.8. The device to
            compute on is the model's unless `device` says otherwise.

    Returns:
        As `lorafold.merge`, whose `metrics()` tell how good the merge is.

    Raises:
        LorafoldError: an unknown or taken name, adapters other than LoRA and DoRA, or a mistake in the settings.
    """
    _check_names(model, adapters, adapter_name)
    chosen = {"device": _device(model), "weights": weights, **changes}
    settings = apply_changes(MergeSettings, None, chosen) if method is None else published(method, **chosen)
    state = model.state_dict()
    result = merge([read_adapter(model, state, name, settings) for name in adapters], settings)
    _add(model, adapters, adapter_name, result.adapter)
    return result


def collect_statistics(
    model: PeftModel,
    name: str,
    batches: Iterable[Batch],
    *,
    directions: int = DIRECTIONS,
    skip_first: bool | None = None,
) -> Statistics:
    """What `lorafold.collect` finds, of an adapter that the model has: those of its file.

    Args:
        model: a `peft.PeftModel` in which this adapter alone is active.
        name: of the adapter in the model.
        batches, directions, skip_first: see `lorafold.collect`.

    Raises:
        LorafoldError: an unknown adapter, another one that is active, or what `lorafold.collect` refuses.
    """
    _check_known(model, [name])
    active = list(model.active_adapters)
    if active != [name]:
        raise LorafoldError(
            f"the model runs with {', '.join(active) or 'no adapter'}, not with {name!r} alone",
            remedy=f"model.set_adapter({name!r}).",
        )
    adapter, seen = read_adapter(model, model.state_dict(), name, MergeSettings()), Seen(batches)
    layers = layers_of(model, adapter)
    with at_rest(model):
        passes = model_passes(model, seen, [part.layer for parts in layers.values() for part in parts], skip_first)
        return gathered(layers, adapter, passes, directions, seen, name_of(model.get_base_model()))


def _check_names(model: PeftModel, adapters: Sequence[str], adapter_name: str) -> None:
    _check_known(model, adapters)
    if adapter_name in model.peft_config:
        raise LorafoldError(
            f"the model has an adapter {adapter_name!r} already",
            remedy="Choose another name, or delete that one first.",
        )


def _check_known(model: PeftModel, adapters: Sequence[str]) -> None:
    known = ", ".join(model.peft_config)
    for name in adapters:
        if name not in model.peft_config:
            raise LorafoldError(f"the model has no adapter {name!r}", remedy=f"It has {known}.")


def _device(model: PeftModel) -> str:
    """The model's, where lorafold computes on such."""
    device = next(model.parameters()).device
    return str(device) if device.type in ("cpu", "cuda") else MergeSettings.device


def read_adapter(model: Any, state: dict[str, Tensor], name: str, settings: MergeSettings) -> Adapter:
    """The adapter `name`, from tensors and configuration as PEFT would save them.

    Args:
        model: a `peft.PeftModel`, or another one with adapters of PEFT in it.
        state: its state dict.
        name: of the adapter in it.
        settings: `base` and `input_rank` count; without a base, DoRA has the weights of the model.
    """
    from peft import get_peft_model_state_dict

    path = Path(name)
    config = json.loads(json.dumps(model.peft_config[name].to_dict(), default=_plain))
    check_plain(path, config)
    tensors = get_peft_model_state_dict(model, state, name, save_embedding_layers=False)
    own = {_PREFIX + key.removeprefix(_PREFIX): tensor.cpu() for key, tensor in tensors.items()}
    file = TensorFile(path, own, {})
    adapter = parse(file, config, path)
    base = settings.base or _weights(model, adapter, path)
    return replace(resolve_pending(adapter, path, base, settings.input_rank), path=path)


def _weights(model: Any, adapter: Adapter, path: Path) -> BaseWeights | None:
    """The model's own weights of the layers that need them, as they are without any adapter.

    Raises:
        LorafoldError: adapters are merged into these.
    """
    names = [name for name, layer in adapter.pending.items() if layer.magnitude is not None]
    if not names:
        return None
    modules = {name.removeprefix(_PREFIX): module for name, module in model.named_modules()}
    for name in names:
        if getattr(modules[name], "merged", False):
            raise LorafoldError(
                "this is DoRA, which needs the base weights, but adapters are merged into them",
                path=path,
                key=name,
                remedy="model.unmerge_adapter().",
            )
    return weights_of(path, {name: modules[name].get_base_layer().weight.detach().cpu() for name in names})


def _plain(value: Any) -> Any:
    """What JSON has no word for: sets, and values that only print."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _add(model: PeftModel, merged: Sequence[str], name: str, adapter: Adapter) -> None:
    """Put `adapter` into the model; its configuration is the first one's of `merged` but for what the merge changes."""
    from peft import set_peft_model_state_dict

    configs: list[Any] = [model.peft_config[one] for one in merged]
    whole = sorted({module for config in configs for module in config.modules_to_save or ()})
    # Initialisations such as PiSSA would change the base model's weights.
    changes = {**export_config(adapter), "init_lora_weights": True, "modules_to_save": whole or None}
    model.add_adapter(name, replace(configs[0], **changes))
    tensors = FORMATS["peft"].tensors(adapter)
    _prepare(model, name, tensors)
    set_peft_model_state_dict(model, tensors, adapter_name=name)


def _prepare(model: PeftModel, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Freeze the new factors, and give them the dtype of what they will hold; PEFT gives them the base model's."""
    pattern = re.compile(rf"\.(lora_[^.]+)\.{re.escape(name)}(?=\.|$)")
    for key, parameter in model.named_parameters():
        if pattern.search(key):
            parameter.requires_grad_(False)
            parameter.data = parameter.data.to(tensors[pattern.sub(r".\1", key)].dtype)
