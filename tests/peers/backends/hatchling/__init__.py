"""Stands for hatchling; see `reading`."""
