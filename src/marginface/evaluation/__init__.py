"""Scores to rates with intervals; NumPy only, never imports torch."""
