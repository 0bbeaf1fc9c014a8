"""Data sets of facial expressions: read as users have them, with a manifest of what was read."""
