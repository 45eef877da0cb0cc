"""What a merge minimises: distances on Grassmann manifolds plus a reconstruction loss."""

from lorafold.objectives._build import build as build
from lorafold.objectives._build import check_directions as check_directions
from lorafold.objectives._model import Model as Model
from lorafold.objectives._model import split as split
from lorafold.objectives._objective import Evaluation as Evaluation
from lorafold.objectives._objective import Objective as Objective
from lorafold.objectives._reconstruction import RECONSTRUCTIONS as RECONSTRUCTIONS
from lorafold.objectives._reconstruction import emphasis as emphasis
from lorafold.objectives._terms import QuadraticTerm as QuadraticTerm
from lorafold.objectives._terms import SpectralTerm as SpectralTerm
from lorafold.objectives._terms import Term as Term
from lorafold.objectives.distances._registry import DISTANCES as DISTANCES
from lorafold.objectives.distances._registry import Distance as Distance
from lorafold.objectives.distances._registry import distance as distance
