"""The command `lorafold fuse`."""
