"""Stands for setuptools; see `reading`."""
