"""Pages about swaps: what was reported, and the life of a trade."""
