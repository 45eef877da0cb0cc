"""Distances between subspaces, one per file."""

from lorafold.common.registry import import_siblings

import_siblings(__name__, __path__)
