"""Files <-> Adapter: detection by tensor names, safe reading through memory maps, atomic writing.

A format is one module here: importing it enters it in `FORMATS`.
"""

from __future__ import annotations

from lorafold.adapters.adapter import Adapter as Adapter
from lorafold.adapters.formats import comfyui, diffusers, gguf, kohya, mlx, peft, torchtune
from lorafold.adapters.formats.registry import FORMATS as FORMATS
from lorafold.adapters.formats.registry import Format as Format
from lorafold.adapters.formats.registry import check_finite as check_finite
from lorafold.adapters.load import load as load
from lorafold.adapters.module import Module as Module
from lorafold.adapters.save import save as save

__all__ = [
    "FORMATS",
    "Adapter",
    "Format",
    "Module",
    "check_finite",
    "comfyui",
    "diffusers",
    "gguf",
    "kohya",
    "load",
    "mlx",
    "peft",
    "save",
    "torchtune",
]
