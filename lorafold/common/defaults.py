"""Defaults that several commands and functions share."""

# Rank to which LoHa, LoKr, DoRA and full differences are cut when they are read.
INPUT_RANK = 128
