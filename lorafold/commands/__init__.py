"""The commands: what a run of each leaves in its folder, and what it says."""
