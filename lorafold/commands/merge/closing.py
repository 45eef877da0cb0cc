"""What a person needs to know of a merge, in words: the last lines on the screen, and the first on the page.

From its metrics alone (the content of `metrics.json`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from lorafold.common.text import short_names
from lorafold.console.tables import relative_to_cwd
from lorafold.pipelines.merge.settings import CHOSEN

Metrics = Mapping[str, Any]

_FEW = 6  # adapters that are named one by one
_MORE, _ENOUGH = 1.5, 0.9  # times the weight of what is too weak; kept, from where a higher rank is not proposed
_LOADING = {
    "kohya": "ComfyUI: copy it to models/loras. diffusers: pipeline.load_lora_weights({text})",
    "comfyui": "ComfyUI: copy it to models/loras",
    "diffusers": "diffusers: pipeline.load_lora_weights({text})",
    "peft": "PEFT: PeftModel.from_pretrained(model, {text})",
    "mlx": "MLX: mlx_lm.generate --model MODEL --adapter-path {word}",
    "gguf": "llama.cpp: llama-cli -m MODEL.gguf --lora {word}",
}
# Of a strength that was chosen: what it does, in words. See lorafold/scales.
_REASONS = {
    "retained": "so that the merged update is as large as the adapters are on average within this rank",
    "mean_norm": "so that the merged update is as large as the adapters are on average",
    "max_norm": "so that the merged update is as large as the largest adapter",
    "target": "so that the merged update is nearest to the weighted sum",
    "each": "so that the merged update is nearest to each of the adapters",
    "presence": "so that on average each adapter is in it at full strength",
}


def in_words(metrics: Metrics) -> list[str]:
    """What is kept, how strong it is and why, and what to try if one adapter is too weak."""
    names, shares = _names(metrics), metrics["summary"]["retained"]
    known = [(share, number) for number, share in enumerate(shares) if share is not None]
    return [line for line in (_kept(names, known), _strength(metrics), _too_weak(metrics, names, known)) if line]


def where(metrics: Metrics) -> list[str]:
    """The page, how to load the merged adapter, and where it is."""
    path = relative_to_cwd(metrics["output"]["path"])
    loading = _LOADING.get(metrics["output"]["format"], "")
    return [
        *([f"overlap before and after: {relative_to_cwd(metrics['page'])}"] if metrics.get("page") else []),
        *([loading.format(text=json.dumps(path, ensure_ascii=False), word=shlex.quote(path))] if loading else []),
        f"merged adapter: {path}",
    ]


def _names(metrics: Metrics) -> list[str]:
    return short_names([entry["path"] for entry in metrics["inputs"]])


def _kept(names: Sequence[str], known: Sequence[tuple[float, int]]) -> str:
    """Of each adapter, or of many the least and the most."""
    few = known if len(known) <= _FEW else [min(known), max(known)]
    words = [f"{names[number]}{' keeps' if not i else ''} {_percent(share)}" for i, (share, number) in enumerate(few)]
    between = f" (the least and the most of {len(known)})" if len(few) < len(known) else ""
    return f"{', '.join(words)} of its energy{between}; load at strength 1" if words else ""


def _strength(metrics: Metrics) -> str:
    """The factor on the weighted sum, if the user did not give the number."""
    config = metrics["config"]
    if not isinstance(how := config.get("scale"), str):
        return ""
    if how == "svc":
        return "strength: one for each singular direction (scale=svc)"
    reason = _REASONS.get(how, "as that rule has it")
    return f"strength: {metrics['summary']['scale']:.4g} times the weighted sum, {reason} (scale={how})"


def _too_weak(metrics: Metrics, names: Sequence[str], known: Sequence[tuple[float, int]]) -> str:
    """Another weight for the adapter that keeps least, and a higher rank where there is one."""
    config = metrics["config"]
    share, number = min(known, default=(1.0, 0))
    weights = _weights(config, len(names))
    said = []
    if weights and 1 < len(names) <= _FEW:
        weights[number] *= _MORE
        listed = ",".join(f"{weight:.3g}" for weight in weights)
        # weights alone would take the strengths back that are chosen without them
        beside = [
            f"{key}={value}" for key, value in CHOSEN.items() if config["weights"] is None and config[key] == value
        ]
        said.append(" ".join((f"'weights=[{listed}]'", *beside)))
    if share < _ENOUGH and (higher := _higher_rank(metrics)):
        said.append(f"rank={higher}, which keeps more of each")
    return f"if {names[number]} is too weak: {'; or '.join(said)}" if said else ""


def _weights(config: Metrics, count: int) -> list[float]:
    """One number per adapter, as far as they are as simple as that."""
    given = config["weights"]
    if config.get("module_weights") or config.get("block_weights"):
        return []
    if isinstance(given, list):
        return [float(weight) for weight in given]
    return [1.0 if given == "sum" else 1 / count] * count


def _higher_rank(metrics: Metrics) -> int | None:
    """Twice the rank, or what holds everything if that is less; None where it is that already."""
    rank = max(module["rank"] for module in metrics["modules"])
    most = max(min(sum(filter(None, module["ranks"])), *module["shape"][:2]) for module in metrics["modules"])
    return min(2 * rank, most) if rank < most else None


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
