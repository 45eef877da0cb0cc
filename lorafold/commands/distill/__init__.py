"""The command `lorafold distill`."""
