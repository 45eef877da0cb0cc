"""What people read: tables, progress, and the one-line summary of a run."""
