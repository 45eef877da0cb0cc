"""`lorafold.calibrate` and `lorafold.collect`: settings, pipeline, metrics."""
