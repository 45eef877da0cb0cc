"""What a few unlabelled inputs say about the layers of a model: statistics, their file, and the norm they define."""

from lorafold.calibration.statistics import LayerStatistics as LayerStatistics
from lorafold.calibration.statistics import Statistics as Statistics
