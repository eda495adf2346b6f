"""Figures: what a run shows, each with its interval and the number of rows behind it."""
