"""The command `lorafold extract`."""
