"""Names of layers: which architecture a file is for, and what another tool calls the same layer.

Pure functions of names. An architecture (SD, SDXL, Flux, Wan, ...) is a list of layers, each with its path in the
original code and in diffusers; a style says which of the two a tool writes, behind which prefix, and with dots or
underscores. Diffusers' path behind the pipeline's component is the canonical name.
"""

from __future__ import annotations

from lorafold.adapters.naming._architecture import Architecture as Architecture
from lorafold.adapters.naming._architecture import Component as Component
from lorafold.adapters.naming._architecture import Entry as Entry
from lorafold.adapters.naming._identify import Naming as Naming
from lorafold.adapters.naming._identify import has_proportions as has_proportions
from lorafold.adapters.naming._identify import has_whole_depth as has_whole_depth
from lorafold.adapters.naming._identify import has_width as has_width
from lorafold.adapters.naming._identify import namings as namings
from lorafold.adapters.naming._identify import nearest as nearest
from lorafold.adapters.naming._known import ARCHITECTURES as ARCHITECTURES
from lorafold.adapters.naming._styles import STYLES as STYLES
from lorafold.adapters.naming._styles import Place as Place
from lorafold.adapters.naming._styles import Style as Style
from lorafold.adapters.naming._styles import canonical as canonical
from lorafold.adapters.naming._styles import name_of as name_of
from lorafold.adapters.naming._styles import places as places

__all__ = [
    "ARCHITECTURES",
    "STYLES",
    "Architecture",
    "Component",
    "Entry",
    "Naming",
    "Place",
    "Style",
    "canonical",
    "has_proportions",
    "has_whole_depth",
    "has_width",
    "name_of",
    "namings",
    "nearest",
    "places",
]
