"""`lorafold.extract`: settings, pipeline, metrics."""
