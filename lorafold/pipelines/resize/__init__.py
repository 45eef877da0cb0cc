"""`lorafold.resize`: settings, pipeline, metrics."""
