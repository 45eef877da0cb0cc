"""The command `lorafold merge`."""
