"""The command `lorafold reproduce`."""
