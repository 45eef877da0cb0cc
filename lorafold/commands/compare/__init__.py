"""The command `lorafold compare`."""
