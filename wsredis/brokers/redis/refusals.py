"""Error replies of Redis: those of a missing right, and those that pass by themselves."""

from __future__ import annotations

__all__ = ["is_for_now", "lacks_right"]

#: Starts of errors that say nothing about the command: the server reads its data set or runs a
#: script, has lost its master, or has forgotten the login.
_FOR_NOW = ("LOADING ", "BUSY ", "MASTERDOWN ", "TRYAGAIN ", "CLUSTERDOWN ", "NOAUTH ")


def is_for_now(error: Exception) -> bool:
    """Tell whether the same command may be accepted later, or on another connection."""
    return str(error).startswith(_FOR_NOW)


def lacks_right(error: Exception) -> bool:
    """Tell whether the user of the connection lacks a right, or the server the command."""
    return str(error).startswith(("NOPERM", "ERR unknown command"))
