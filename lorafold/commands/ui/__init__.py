"""The command `lorafold ui`."""
