"""What code of a project writes down for a test."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

__all__ = ["note"]


def note(text: str) -> None:
    """Write a line into the file that the setting ``NOTES`` names."""
    with Path(settings.NOTES).open("a") as file:
        file.write(f"{text}\n")
