"""
Checks of values: each takes a value in any form and returns it in the form that is used.

A check raises ValueError if a value is not allowed. The message says why; it does not name the
setting, since the caller knows whether an option, a variable or a key of a file is meant.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from wsredis.channels import Audience
from wsredis.config.cores import usable_cores
from wsredis.config.nearest import did_you_mean
from wsredis.config.origins import check_allowed_host, check_allowed_origin

__all__ = [
    "Check",
    "callable_name",
    "channel_prefix",
    "choice",
    "clean_secret",
    "endpoint_description",
    "flag",
    "header_value",
    "host",
    "integer",
    "module_name",
    "optional",
    "optional_port",
    "optional_string",
    "origin",
    "port",
    "repeated",
    "script_name",
    "seconds",
    "secret",
    "string",
    "tls_port",
    "url",
    "url_prefix",
    "workers",
]

Check = Callable[[Any], Any]

#: The words that channels begin with, after the prefix.
_AUDIENCES = frozenset(each.value for each in Audience)

_HEADER = re.compile(r"[a-z0-9-]+")

#: The address before a port number. Names of other hosts are none of this machine.
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|localhost|\[[0-9A-Fa-f:.]+\]")

#: The characters of a path as it stands in a request (RFC 3986, 3.3).
_PATH = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*")


def integer(minimum: int) -> Check:
    """Return a check for whole numbers of at least *minimum*, also given as strings."""

    def check(value: Any) -> int:
        try:
            number = value if type(value) is int else int(str(value))
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if number < minimum:
            raise ValueError(f"{number} is less than {minimum}")
        return number

    return check


def seconds(minimum: float) -> Check:
    """Return a check for finite durations of at least *minimum* seconds."""

    def check(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{value!r} is not a number of seconds") from None
        if not math.isfinite(number) or number < minimum:
            raise ValueError(f"{value!r} is not a number of seconds of at least {minimum:g}")
        return number

    return check


def optional(check: Check) -> Check:
    """Return a check for what *check* takes. None and the empty string are None."""

    def check_given(value: Any) -> Any:
        return None if value is None or value == "" else check(value)

    return check_given


def flag(value: Any) -> bool:
    """Check a flag: a bool or one of the usual words. The empty string is False."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def string(value: Any) -> str:
    """Check a string that can be sent as UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        # The command line may hold any bytes.
        raise ValueError(f"{value!r} is not UTF-8") from None
    return value


def optional_string(value: Any) -> str | None:
    """Check a string. None and the empty string are None."""
    return None if value is None or value == "" else string(value)


def secret(value: Any) -> str | None:
    """
    Check a string as `optional_string` does; the message never contains the value.

    It is cleaned as `clean_secret` does.
    """
    try:
        return optional_string(clean_secret(value) if isinstance(value, str) else value)
    except ValueError:
        raise ValueError("this is not a string") from None


def clean_secret(text: str) -> str:
    """
    Leave out what editors and shells add to a secret: a mark at its start, and its line end.

    So a secret is the same one from a file, a variable and an option.
    """
    return text.removeprefix("\ufeff").removesuffix("\n").removesuffix("\r")


def origin(value: Any) -> str:
    """Check one entry of the list of allowed origins."""
    return check_allowed_origin(string(value))


def host(value: Any) -> str:
    """Check one entry of the list of names of the gateway."""
    return check_allowed_host(string(value))


def repeated(check: Check) -> Check:
    """Return a check for any number of values: a list, or a string with blanks between them."""

    def check_all(value: Any) -> tuple[Any, ...]:
        items = value if isinstance(value, (list, tuple)) else str(value).split()
        return tuple(check(item) for item in items)

    return check_all


def port(value: Any) -> str:
    """
    Check a port number, an address with one, or a Twisted endpoint description.

    Of a description only the first part is looked at.
    """
    text = str(value).strip()
    host, _, number = text.rpartition(":")
    is_number = number.isascii() and number.isdigit()
    if is_number and (not host or _ADDRESS.fullmatch(host)):
        if len(number) > 5 or int(number) > 65535:
            raise ValueError(f"{number[:20]} is not a port number (0 to 65535)")
    elif ":" not in text:
        raise ValueError(f"{text!r} is neither a port number nor an endpoint description")
    return text


def endpoint_description(text: str, host: str = "") -> str:
    """
    Return the Twisted endpoint description of a port.

    Args:
        text: The result of `port`.
        host: The address for a bare number. If empty, it is every address of the machine.
    """
    address, _, number = text.rpartition(":")
    if not number.isdigit() or not (not address or _ADDRESS.fullmatch(address)):
        return text
    address = (address or host).strip("[]").replace(":", r"\:")
    return f"tcp:{number}:interface={address}" if address else f"tcp:{number}"


#: As `port`, but there need not be one.
optional_port = optional(port)


def tls_port(value: Any) -> str:
    """Check a port on which the gateway itself speaks TLS, with the certificates of settings."""
    text = port(value)
    if text.startswith(("ssl:", "tls:")):
        raise ValueError(f"{text!r} names its own certificates: give it as port, not tls-port")
    return text


def workers(value: Any) -> int:
    """Check a number of processes. ``auto`` is one for each core that may be used."""
    if value == "auto":
        return usable_cores()
    try:
        return int(integer(1)(value))
    except ValueError as error:
        raise ValueError(f"{error}; 'auto' is one per core") from None


def url(value: Any) -> str | None:
    """Check an HTTP URL. Its query may be a secret, so the message never contains the value."""
    text = secret(value)
    if text is not None and not re.fullmatch(r"https?://[^\s/?#@]+(?:[/?][^\s#]*)?", text):
        raise ValueError(
            "this is not a URL that starts with http:// or https:// and has no user in it"
        )
    return text


def choice(*allowed: str) -> Check:
    """Return a check for one of *allowed*. None and the empty string are None."""

    def check(value: Any) -> str | None:
        text = optional_string(value)
        if text is not None and text not in allowed:
            raise ValueError(
                f"{text!r} is not one of {', '.join(allowed)}{did_you_mean(text, allowed)}"
            )
        return text

    return check


def _python_name(pattern: str, example: str) -> Check:
    def check(value: Any) -> str | None:
        text = optional_string(value)
        if text is not None and not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not written as {example}")
        return text

    return check


#: Checks the dotted name of a module.
module_name = _python_name(r"\w+(?:\.\w+)*", "package.module")

#: Checks the name of a function or of another object that can be called.
callable_name = _python_name(r"\w+(?:\.\w+)*:\w+(?:\.\w+)*", "package.module:name")


def url_prefix(value: Any) -> str:
    """Check the path that every WebSocket URL begins with, as it stands in a request."""
    text = string(value)
    if not (text.startswith("/") and text.endswith("/")):
        raise ValueError(f"{text!r} does not start and end with a slash")
    if not _PATH.fullmatch(text):
        raise ValueError(
            f"{text!r} has characters that clients percent-encode: write them percent-encoded"
        )
    return text


def script_name(value: Any) -> str:
    """Check the path that a proxy takes off, as it stands in a request; empty for none."""
    text = string("" if value is None else value)
    return text and str(url_prefix(f"{text}/"))[:-1]


def header_value(value: Any) -> str:
    """Check a header and its value, with an equals sign between them."""
    name, sign, wanted = string(value).partition("=")
    name, wanted = name.strip().lower(), wanted.strip()
    if not (sign and wanted and _HEADER.fullmatch(name)):
        raise ValueError(f"{value!r} is not a header and its value, as X-Scheme=https")
    return f"{name}={wanted}"


def channel_prefix(value: Any) -> str:
    """
    Check the prefix of channels. None is the empty prefix.

    The name of an audience is not a part of it: ``user:john:x`` would be a channel of two sites.
    """
    text = string(value or "")
    for part in text.split(":"):
        if part in _AUDIENCES:
            raise ValueError(f"{text!r} has the name of an audience in it: {part}")
    if any(each.isspace() or unicodedata.category(each) == "Cc" for each in text):
        raise ValueError(f"{text!r} has a blank or a control character")
    return text
