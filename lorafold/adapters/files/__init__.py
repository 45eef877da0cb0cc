"""Files as they lie on the disk: safe reading through memory maps, atomic writing, what a path names."""
