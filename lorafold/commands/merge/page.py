"""The page of a merge: the adapters and the merged one compared, so that before and after stand side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorafold.commands.merge.closing import in_words
from lorafold.pipelines.compare.pipeline import compare_roughly, compared_already
from lorafold.pipelines.merge.pipeline import MergeResult

log = logging.getLogger(__name__)


def try_merge_page(path: Path, metrics: Mapping[str, Any], result: MergeResult) -> str | None:
    """Write the page; if that fails, say why and return None: the adapter is there already, and the run counts.

    Args:
        path: of the page.
        metrics: the content of `metrics.json` of the merge.
        result: what `lorafold.merge` returned.
    """
    try:
        _write(path, metrics, result)
    except Exception as error:
        log.warning("no page: %s cannot be written (%s: %s)", path, type(error).__name__, error)
        log.debug("raised here", exc_info=True)
        return None
    return str(path)


def _result(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What the page begins with."""
    summary, config = metrics["summary"], metrics["config"]
    return {
        "words": in_words(metrics),
        "kept": summary["retained"],
        "error": summary["reconstruction_error"],
        "gap": (summary["gap"] or {}).get("largest"),
        "weights": config["weights"] if isinstance(config["weights"], list) else None,
        "scale": summary["scale"],
        "rank": max(module["rank"] for module in metrics["modules"]),
    }


def _write(path: Path, metrics: Mapping[str, Any], result: MergeResult) -> None:
    from lorafold.pages.overlap import write_page  # half as many imports without a page

    merged = replace(result.adapter, path=Path(metrics["output"]["path"]))
    adapters = [*result.inputs, merged]
    compared = compared_already(adapters, result.compared) if result.compared else compare_roughly(adapters)
    content = {**{key: metrics[key] for key in ("command", "config", "environment")}, **compared.metrics()}
    content["inputs"] = [*metrics["inputs"], content["inputs"][-1] | {"role": "merged"}]
    content["summary"]["seconds"] = metrics["summary"]["seconds"]
    content["result"] = _result(metrics)
    write_page(path, content, compared.grids)
