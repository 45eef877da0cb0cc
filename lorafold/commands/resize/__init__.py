"""The command `lorafold resize`."""
