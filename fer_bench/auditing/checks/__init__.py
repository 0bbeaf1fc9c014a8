"""Checks of published figures, one kind a module."""
