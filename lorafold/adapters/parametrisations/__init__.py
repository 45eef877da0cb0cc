"""Layers that are no plain pair of factors: DoRA, LoHa, LoKr, Tucker, full differences."""
