"""Core space: the exact reduction of every module to a problem of at most Σ r_i dimensions per side."""

from lorafold.core_space._columns import energies as energies
from lorafold.core_space._frames import RANK_TOLERANCE as RANK_TOLERANCE
from lorafold.core_space._layer import SIDES as SIDES
from lorafold.core_space._layer import Calibration as Calibration
from lorafold.core_space._layer import Layer as Layer
from lorafold.core_space._layer import Side as Side
from lorafold.core_space._lift import Liftable as Liftable
from lorafold.core_space._lift import LiftedSide as LiftedSide
from lorafold.core_space._lift import lift as lift
from lorafold.core_space._lift import liftable as liftable
from lorafold.core_space._reduce import CoreBatch as CoreBatch
from lorafold.core_space._reduce import NonFiniteError as NonFiniteError
from lorafold.core_space._reduce import reduce_layers as reduce_layers
from lorafold.core_space.problem import participation as participation
