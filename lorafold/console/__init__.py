"""What a person sees in a terminal: progress, cells of tables."""
