"""What a merge minimises: distances on Grassmann manifolds plus a reconstruction loss."""

from lorafold.objectives import _chordal as _chordal
from lorafold.objectives import _geodesic as _geodesic
from lorafold.objectives import _maxima as _maxima
from lorafold.objectives import _phi as _phi
from lorafold.objectives import _procrustes as _procrustes
from lorafold.objectives import _products as _products
from lorafold.objectives._build import build as build
from lorafold.objectives._build import check_directions as check_directions
from lorafold.objectives._distance import DISTANCES as DISTANCES
from lorafold.objectives._distance import Distance as Distance
from lorafold.objectives._distance import quadratic_distance as quadratic_distance
from lorafold.objectives._distance import spectral_distance as spectral_distance
from lorafold.objectives._model import Model as Model
from lorafold.objectives._model import split as split
from lorafold.objectives._objective import Evaluation as Evaluation
from lorafold.objectives._objective import Objective as Objective
from lorafold.objectives._reconstruction import RECONSTRUCTIONS as RECONSTRUCTIONS
from lorafold.objectives._terms import QuadraticTerm as QuadraticTerm
from lorafold.objectives._terms import SpectralTerm as SpectralTerm
from lorafold.objectives._terms import Term as Term
