"""The command `lorafold calibrate`."""
