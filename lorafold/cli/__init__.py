"""The command line: Hydra, and nothing else."""
