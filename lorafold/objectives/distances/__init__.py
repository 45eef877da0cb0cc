"""Distances between subspaces, one per file."""
