"""From the layers of one format to those of another."""
