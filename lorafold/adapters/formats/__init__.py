"""Formats of adapters: how each is told apart, read and written."""
