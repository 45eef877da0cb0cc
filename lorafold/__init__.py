"""Merge LoRA adapters on Grassmann manifolds.

    import lorafold

    result = lorafold.merge(["a.safetensors", "b.safetensors"], weights=[0.7, 0.3], rank=32)
    result.save("merged.safetensors")

Importing lorafold is free: torch is imported with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorafold._version import __version__

if TYPE_CHECKING:
    from lorafold.adapters import Adapter, Module, load, save
    from lorafold.adapters.formats.registry import format
    from lorafold.common.errors import LorafoldError
    from lorafold.core_rules import core_rule
    from lorafold.objectives import distance
    from lorafold.pipelines.align.pipeline import AlignResult, align
    from lorafold.pipelines.align.settings import AlignSettings
    from lorafold.pipelines.calibrate.collect import collect
    from lorafold.pipelines.calibrate.pipeline import CalibrateResult, calibrate
    from lorafold.pipelines.calibrate.settings import CalibrateSettings
    from lorafold.pipelines.compare.pipeline import CompareResult, compare
    from lorafold.pipelines.compare.settings import CompareSettings
    from lorafold.pipelines.convert.pipeline import ConvertResult, convert
    from lorafold.pipelines.convert.settings import ConvertSettings
    from lorafold.pipelines.distill.pipeline import DistillResult, distill
    from lorafold.pipelines.distill.settings import DistillSettings
    from lorafold.pipelines.extract.pipeline import ExtractResult, extract
    from lorafold.pipelines.extract.settings import ExtractSettings
    from lorafold.pipelines.fuse.pipeline import FuseResult, fuse
    from lorafold.pipelines.fuse.settings import FuseSettings
    from lorafold.pipelines.inspect.pipeline import InspectResult, inspect
    from lorafold.pipelines.inspect.settings import InspectSettings
    from lorafold.pipelines.merge.pipeline import MergeResult, merge
    from lorafold.pipelines.merge.recipes import recipe
    from lorafold.pipelines.merge.settings import MergeSettings
    from lorafold.pipelines.reproduce.pipeline import ReproduceResult, reproduce
    from lorafold.pipelines.reproduce.settings import ReproduceSettings
    from lorafold.pipelines.resize.pipeline import ResizeResult, resize
    from lorafold.pipelines.resize.settings import ResizeSettings
    from lorafold.scales import scale
    from lorafold.solvers import solver

__all__ = [
    "Adapter",
    "AlignResult",
    "AlignSettings",
    "CalibrateResult",
    "CalibrateSettings",
    "CompareResult",
    "CompareSettings",
    "ConvertResult",
    "ConvertSettings",
    "DistillResult",
    "DistillSettings",
    "ExtractResult",
    "ExtractSettings",
    "FuseResult",
    "FuseSettings",
    "InspectResult",
    "InspectSettings",
    "LorafoldError",
    "MergeResult",
    "MergeSettings",
    "Module",
    "ReproduceResult",
    "ReproduceSettings",
    "ResizeResult",
    "ResizeSettings",
    "__version__",
    "align",
    "calibrate",
    "collect",
    "compare",
    "convert",
    "core_rule",
    "distance",
    "distill",
    "extract",
    "format",
    "fuse",
    "inspect",
    "load",
    "merge",
    "recipe",
    "reproduce",
    "resize",
    "save",
    "scale",
    "solver",
]

_VERBS = (
    *("align", "calibrate", "compare", "convert", "distill", "extract", "fuse"),
    *("inspect", "merge", "reproduce", "resize"),
)
_HOMES = {
    **dict.fromkeys(("Adapter", "Module", "load", "save"), "lorafold.adapters"),
    "LorafoldError": "lorafold.common.errors",
    "collect": "lorafold.pipelines.calibrate.collect",
    "core_rule": "lorafold.core_rules",
    "distance": "lorafold.objectives",
    "format": "lorafold.adapters.formats.registry",
    "scale": "lorafold.scales",
    "solver": "lorafold.solvers",
    "recipe": "lorafold.pipelines.merge.recipes",
    **{verb: f"lorafold.pipelines.{verb}.pipeline" for verb in _VERBS},
    **{f"{verb.title()}Result": f"lorafold.pipelines.{verb}.pipeline" for verb in _VERBS},
    **{f"{verb.title()}Settings": f"lorafold.pipelines.{verb}.settings" for verb in _VERBS},
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lorafold' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
