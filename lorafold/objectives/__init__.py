"""What a merge minimises: distances on Grassmann manifolds plus a reconstruction loss."""

from lorafold.objectives._build import build as build
from lorafold.objectives._build import check_directions as check_directions
from lorafold.objectives._model import Model as Model
from lorafold.objectives._model import split as split
from lorafold.objectives._objective import Evaluation as Evaluation
from lorafold.objectives._objective import Objective as Objective
from lorafold.objectives._reconstruction import RECONSTRUCTIONS as RECONSTRUCTIONS
from lorafold.objectives._terms import QuadraticTerm as QuadraticTerm
from lorafold.objectives._terms import SpectralTerm as SpectralTerm
from lorafold.objectives._terms import Term as Term
from lorafold.objectives.distances import chordal as chordal
from lorafold.objectives.distances import cosine_products as cosine_products
from lorafold.objectives.distances import geodesic as geodesic
from lorafold.objectives.distances import largest_angle as largest_angle
from lorafold.objectives.distances import phi as phi
from lorafold.objectives.distances import procrustes as procrustes
from lorafold.objectives.distances._registry import DISTANCES as DISTANCES
from lorafold.objectives.distances._registry import Distance as Distance
from lorafold.objectives.distances._registry import quadratic_distance as quadratic_distance
from lorafold.objectives.distances._registry import spectral_distance as spectral_distance
