"""The arguments of ``wsredis connect``, and its way from the start to the end."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsredis.errors import ConfigError
from wsredis.service.connect.target import read_target
from wsredis.service.outside import Command, Outside

__all__ = ["CONNECT"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _name_and_value(separator: str, form: str) -> Any:
    def check(text: str) -> tuple[str, str]:
        name, found, value = text.partition(separator)
        name, value = name.strip(), value.strip()
        if not (found and _TOKEN.fullmatch(name)) or not (text.isprintable() and text.isascii()):
            raise argparse.ArgumentTypeError(f"{text!r} is not written as {form}")
        return name, value

    return check


def _subprotocol(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a subprotocol")
    return text


def _origin(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A WebSocket client: what you type is sent, what comes is printed, and so are the close "
        "code with its reason, and the answer of a server that refuses. In a pipe each line is a "
        "message, and only messages are on standard output. Put the URL between quotes: shells "
        "have other uses for ? and &."
    )
    parser.add_argument(
        "url",
        metavar="URL",
        help="Such as 'ws://localhost:8080/ws/demo?subscribe-broadcast'. Without a scheme it is "
        "ws://, and a path alone is at localhost:8080.",
    )
    parser.add_argument(
        "--subprotocol",
        action="append",
        default=[],
        type=_subprotocol,
        metavar="NAME",
        help="Offer this subprotocol. With 'wsredis' the gateway says what this connection hears, "
        "and why it is refused. May be repeated.",
    )
    parser.add_argument(
        "--cookie",
        action="append",
        default=[],
        type=_name_and_value("=", "NAME=VALUE"),
        metavar="NAME=VALUE",
        help="Send this cookie. May be repeated.",
    )
    parser.add_argument("--token", metavar="TOKEN", help="Send 'Authorization: Bearer TOKEN'.")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="As --token, with the first line of a file: users of this machine can see arguments.",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        type=_name_and_value(":", "NAME: VALUE"),
        metavar="'NAME: VALUE'",
        help="Send this header. May be repeated.",
    )
    parser.add_argument(
        "--origin",
        type=_origin,
        metavar="URL",
        help="Send the Origin header that a page of this site sends.",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="Stay connected for so long after the end of standard input (0).",
    )
    parser.add_argument("--ca", metavar="FILE", help="PEM file with the CA of a wss:// server.")
    parser.add_argument(
        "--insecure", action="store_true", help="Do not check the certificate of a wss:// server."
    )
    parser.add_argument(
        "--unix", metavar="PATH", help="Connect to this UNIX socket; the URL is only sent."
    )
    parser.add_argument("--verbose", action="store_true", help="Show pings and heartbeats, too.")


def _headers(arguments: argparse.Namespace) -> Mapping[str, str]:
    """
    Return the headers of the handshake. Those of one name are joined, as HTTP allows it.

    Raises:
        ConfigError: The file of the token cannot be used.
    """
    pairs = [*arguments.header]
    token = arguments.token
    if arguments.token_file is not None:
        try:
            text = Path(arguments.token_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigError(f"--token-file: {arguments.token_file}: {reason}") from None
        token = text.partition("\n")[0].strip()
    if token is not None:
        if not (token and token.isascii() and token.isprintable()):
            raise ConfigError("the token is empty, or has characters that a header cannot have")
        pairs.append(("Authorization", f"Bearer {token}"))
    if arguments.cookie:
        cookies = "; ".join(f"{name}={value}" for name, value in arguments.cookie)
        pairs.append(("Cookie", cookies))
    headers: dict[str, str] = {}
    for name, value in pairs:
        known = next((each for each in headers if each.lower() == name.lower()), name)
        joint = "; " if name.lower() == "cookie" else ", "
        headers[known] = f"{headers[known]}{joint}{value}" if known in headers else value
    return headers


def _run(arguments: argparse.Namespace, outside: Outside) -> int:
    target = read_target(arguments.url)
    headers = _headers(arguments)
    # Imported late: other commands need no reactor.
    from twisted.internet import reactor

    from wsredis.service.connect.program import Wishes, run

    wishes = Wishes(
        protocols=arguments.subprotocol,
        headers=headers,
        origin=arguments.origin,
        wait=arguments.wait,
        ca=arguments.ca,
        is_insecure=arguments.insecure,
        unix=arguments.unix,
        is_verbose=arguments.verbose,
    )
    return run(reactor, target, wishes, outside)


#: The command.
CONNECT = Command(
    "connect a WebSocket client: type to send, and see what comes",
    "messages",
    _add_arguments,
    _run,
)
