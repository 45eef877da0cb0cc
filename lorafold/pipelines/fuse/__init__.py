"""`lorafold.fuse`: settings, pipeline, metrics."""
