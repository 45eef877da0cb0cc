"""How much of each adapter a merge keeps, on adapters that anyone can train again from packages; see quality.py."""
