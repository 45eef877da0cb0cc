"""The command `lorafold inspect`."""
