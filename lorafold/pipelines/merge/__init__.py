"""`lorafold.merge`: settings, pipeline, metrics."""
