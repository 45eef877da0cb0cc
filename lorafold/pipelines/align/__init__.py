"""`lorafold.align`: settings, pipeline, metrics."""
