"""`lorafold.distill`: settings, pipeline, the student and what it learns from."""
