"""Data sets, transforms, training and evaluation loops, on any module."""
