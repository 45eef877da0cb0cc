"""`lorafold.compare`: settings, pipeline, metrics."""
