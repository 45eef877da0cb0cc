"""Merge LoRA adapters on Grassmann manifolds.

    import lorafold

    result = lorafold.merge(["a.safetensors", "b.safetensors"], weights=[0.7, 0.3], rank=32)
    lorafold.save(result.adapter, "merged.safetensors")

Importing lorafold is free: torch is imported with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorafold.adapters import Adapter as Adapter
    from lorafold.adapters import load as load
    from lorafold.adapters import save as save
    from lorafold.adapters.formats.registry import format as format
    from lorafold.common.errors import LorafoldError as LorafoldError
    from lorafold.core_rules import core_rule as core_rule
    from lorafold.objectives import distance as distance
    from lorafold.pipelines.align.pipeline import AlignResult as AlignResult
    from lorafold.pipelines.align.pipeline import align as align
    from lorafold.pipelines.align.settings import AlignSettings as AlignSettings
    from lorafold.pipelines.compare.pipeline import CompareResult as CompareResult
    from lorafold.pipelines.compare.pipeline import compare as compare
    from lorafold.pipelines.compare.settings import CompareSettings as CompareSettings
    from lorafold.pipelines.convert.pipeline import Conversion as Conversion
    from lorafold.pipelines.convert.pipeline import convert as convert
    from lorafold.pipelines.convert.settings import ConvertSettings as ConvertSettings
    from lorafold.pipelines.inspect.pipeline import Inspection as Inspection
    from lorafold.pipelines.inspect.pipeline import inspect as inspect
    from lorafold.pipelines.merge.methods import method as method
    from lorafold.pipelines.merge.pipeline import MergeResult as MergeResult
    from lorafold.pipelines.merge.pipeline import merge as merge
    from lorafold.pipelines.merge.settings import Settings as Settings
    from lorafold.pipelines.resize.pipeline import ResizeResult as ResizeResult
    from lorafold.pipelines.resize.pipeline import resize as resize
    from lorafold.pipelines.resize.settings import ResizeSettings as ResizeSettings
    from lorafold.scales import scale as scale
    from lorafold.solvers import solver as solver

from lorafold._version import __version__ as __version__

_HOMES = {
    "Adapter": "lorafold.adapters",
    "AlignResult": "lorafold.pipelines.align.pipeline",
    "AlignSettings": "lorafold.pipelines.align.settings",
    "CompareResult": "lorafold.pipelines.compare.pipeline",
    "CompareSettings": "lorafold.pipelines.compare.settings",
    "Conversion": "lorafold.pipelines.convert.pipeline",
    "ConvertSettings": "lorafold.pipelines.convert.settings",
    "Inspection": "lorafold.pipelines.inspect.pipeline",
    "LorafoldError": "lorafold.common.errors",
    "MergeResult": "lorafold.pipelines.merge.pipeline",
    "ResizeResult": "lorafold.pipelines.resize.pipeline",
    "ResizeSettings": "lorafold.pipelines.resize.settings",
    "Settings": "lorafold.pipelines.merge.settings",
    "align": "lorafold.pipelines.align.pipeline",
    "compare": "lorafold.pipelines.compare.pipeline",
    "convert": "lorafold.pipelines.convert.pipeline",
    "core_rule": "lorafold.core_rules",
    "distance": "lorafold.objectives",
    "format": "lorafold.adapters.formats.registry",
    "inspect": "lorafold.pipelines.inspect.pipeline",
    "load": "lorafold.adapters",
    "merge": "lorafold.pipelines.merge.pipeline",
    "method": "lorafold.pipelines.merge.methods",
    "resize": "lorafold.pipelines.resize.pipeline",
    "save": "lorafold.adapters",
    "scale": "lorafold.scales",
    "solver": "lorafold.solvers",
}
__all__ = [
    "Adapter",
    "AlignResult",
    "AlignSettings",
    "CompareResult",
    "CompareSettings",
    "Conversion",
    "ConvertSettings",
]
__all__ += ["Inspection", "LorafoldError", "MergeResult", "ResizeResult", "ResizeSettings", "Settings"]
__all__ += ["align", "compare", "convert", "inspect", "load", "merge", "method", "resize", "save"]
__all__ += ["core_rule", "distance", "format", "scale", "solver"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lorafold' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
