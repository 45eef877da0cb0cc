"""The library: settings, pipeline and metrics of each verb, free of Hydra and of folders."""
