"""`lorafold.inspect`: settings, pipeline, metrics."""
