"""Formats of adapters: how each is told apart, read and written."""

from lorafold.common.registry import import_siblings

import_siblings(__name__, __path__)
