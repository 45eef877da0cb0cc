"""Whole models on the disk: which files they are, their tensors one at a time, their layers by name, and copies."""
