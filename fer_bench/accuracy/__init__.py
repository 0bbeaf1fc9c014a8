"""Data sets, and what networks reach on them."""
