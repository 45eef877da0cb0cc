"""The command `lorafold report`."""
