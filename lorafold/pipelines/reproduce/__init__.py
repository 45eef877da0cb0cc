"""`lorafold.reproduce`: settings, pipeline, metrics."""
