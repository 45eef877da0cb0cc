"""Adapters -> layers -> adapter: what belongs together, in which batches, and back."""
