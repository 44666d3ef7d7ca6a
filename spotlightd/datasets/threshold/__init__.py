"""Threshold lists: what is on them (`lists`), which days are known (`days`), and how long each security was on one (`streaks`)."""
