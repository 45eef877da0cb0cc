"""Scales, one idea per file: how strong the merged adapter is, where the user gives no number."""

from lorafold.common.registry import import_siblings
from lorafold.scales._norms import capped_for_sum as capped_for_sum
from lorafold.scales._per_direction import PER_DIRECTION as PER_DIRECTION
from lorafold.scales._registry import SCALES as SCALES
from lorafold.scales._registry import Scale as Scale
from lorafold.scales._registry import UpdateNorms as UpdateNorms
from lorafold.scales._registry import joined_norms as joined_norms
from lorafold.scales._registry import scale as scale
from lorafold.scales._registry import update_norms as update_norms

import_siblings(__name__, __path__)
