"""Merge LoRA adapters on Grassmann manifolds.

    import lorafold

    result = lorafold.merge(["a.safetensors", "b.safetensors"], weights=[0.7, 0.3], rank=32)
    lorafold.save(result.adapter, "merged.safetensors")

Importing lorafold is free: torch is imported with the first name that needs it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorafold.adapters import Adapter as Adapter
    from lorafold.adapters import load as load
    from lorafold.adapters import save as save
    from lorafold.align import AlignResult as AlignResult
    from lorafold.align import align as align
    from lorafold.align_settings import AlignSettings as AlignSettings
    from lorafold.compare import CompareResult as CompareResult
    from lorafold.compare import compare as compare
    from lorafold.compare_settings import CompareSettings as CompareSettings
    from lorafold.conversion import Conversion as Conversion
    from lorafold.conversion import convert as convert
    from lorafold.convert_settings import ConvertSettings as ConvertSettings
    from lorafold.errors import LorafoldError as LorafoldError
    from lorafold.inspection import Inspection as Inspection
    from lorafold.inspection import inspect as inspect
    from lorafold.merge import MergeResult as MergeResult
    from lorafold.merge import merge as merge
    from lorafold.methods import method as method
    from lorafold.resize import ResizeResult as ResizeResult
    from lorafold.resize import resize as resize
    from lorafold.resize_settings import ResizeSettings as ResizeSettings
    from lorafold.settings import Settings as Settings

__version__ = "0.1.0"

_HOMES = {
    "Adapter": "lorafold.adapters",
    "AlignResult": "lorafold.align",
    "AlignSettings": "lorafold.align_settings",
    "CompareResult": "lorafold.compare",
    "CompareSettings": "lorafold.compare_settings",
    "Conversion": "lorafold.conversion",
    "ConvertSettings": "lorafold.convert_settings",
    "Inspection": "lorafold.inspection",
    "LorafoldError": "lorafold.errors",
    "MergeResult": "lorafold.merge",
    "ResizeResult": "lorafold.resize",
    "ResizeSettings": "lorafold.resize_settings",
    "Settings": "lorafold.settings",
    "align": "lorafold.align",
    "compare": "lorafold.compare",
    "convert": "lorafold.conversion",
    "inspect": "lorafold.inspection",
    "load": "lorafold.adapters",
    "merge": "lorafold.merge",
    "method": "lorafold.methods",
    "resize": "lorafold.resize",
    "save": "lorafold.adapters",
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lorafold' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(ModuleType):
    """Keeps `lorafold.merge` the function: importing the module of that name would put the module in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
