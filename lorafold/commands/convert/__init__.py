"""The command `lorafold convert`."""
