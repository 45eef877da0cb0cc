"""Core rules, one per file: each combines the adapters' coordinates in the merged subspaces.

A file of this package that registers a rule is all that a rule needs, with its options in `conf/core/<name>.yaml`.
"""

from importlib import import_module
from pkgutil import iter_modules

from lorafold.core_rules._registry import CORE_RULES as CORE_RULES
from lorafold.core_rules._registry import CoreRule as CoreRule
from lorafold.core_rules._registry import Factors as Factors
from lorafold.core_rules._registry import core_rule as core_rule

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
