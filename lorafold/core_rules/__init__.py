"""Core rules, one per file: each combines the adapters' coordinates in the merged subspaces.

A file of this package that registers a rule is all that a rule needs, with its options in `conf/core/<name>.yaml`.
"""

from lorafold.common.registry import import_siblings
from lorafold.core_rules._registry import CORE_RULES as CORE_RULES
from lorafold.core_rules._registry import CoreRule as CoreRule
from lorafold.core_rules._registry import Factors as Factors
from lorafold.core_rules._registry import core_rule as core_rule

import_siblings(__name__, __path__)
