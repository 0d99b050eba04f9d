"""Stands for the build backend of Daphne; see `reading`."""

from reading import *  # noqa: F403
