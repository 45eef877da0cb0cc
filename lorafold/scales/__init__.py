"""Scales, one idea per file: how strong the merged adapter is, where the user gives no number."""

from lorafold.common.registry import import_siblings
from lorafold.scales._norms import of_a_sum as of_a_sum
from lorafold.scales._registry import SCALES as SCALES
from lorafold.scales._registry import Scale as Scale
from lorafold.scales._registry import Sizes as Sizes
from lorafold.scales._registry import joined as joined
from lorafold.scales._registry import scale as scale
from lorafold.scales._registry import sizes as sizes

import_siblings(__name__, __path__)
