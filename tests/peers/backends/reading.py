"""
A build backend that builds nothing: it tells pip what stands in the file PKG-INFO of an sdist.

pip asks the backend of a project for its metadata before it downloads the project. The real ones
would be installed for that, and that of granian would compile it. The folders beside this file
have the names of those backends.
"""

from __future__ import annotations

from pathlib import Path


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    """Nothing is needed."""
    return []


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: object = None
) -> str:
    """Copy the metadata that the project was published with. Returns: The folder they are in."""
    text = Path("PKG-INFO").read_text("utf-8")
    head = text.partition("\n\n")[0].splitlines()
    fields = dict(line.split(": ", 1) for line in head if ": " in line)
    name = fields["Name"].replace("-", "_")
    folder = Path(metadata_directory, f"{name}-{fields['Version']}.dist-info")
    folder.mkdir()
    folder.joinpath("METADATA").write_text(text, "utf-8")
    return folder.name
