"""Torch models with an adapter switched on, and the inputs that they are run on."""
