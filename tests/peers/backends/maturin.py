"""Stands for granian's build backend; see `reading`."""

from reading import *  # noqa: F403
