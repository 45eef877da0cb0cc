"""`lorafold.convert`: settings, pipeline, metrics."""
