"""The command `lorafold align`."""
