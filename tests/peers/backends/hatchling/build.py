"""Stands for the build backend of uvicorn and Starlette; see `reading`."""

from reading import *  # noqa: F403
