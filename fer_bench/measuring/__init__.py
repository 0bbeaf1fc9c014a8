"""Carry out a plan in processes of their own."""
