"""The grammar of URLs of the plain dialect: the path is a facility, and the query has flags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import islice
from urllib.parse import unquote_to_bytes

from wsredis.channels import FLAGS, Access, Audience, parse_flags, read_flag
from wsredis.config.nearest import nearest
from wsredis.errors import BadRequest

__all__ = ["MAX_FACILITY_BYTES", "parse_access", "parse_facility"]

#: The longest facility, in bytes of UTF-8 after percent-decoding.
MAX_FACILITY_BYTES = 255

#: More parameters than this are refused; Django, which served this contract, has the same bound.
_MAX_PARAMETERS = 1000

#: Parameters that are compared with the flags, and their length in characters. One comparison takes
#: up to 0.1 ms; as many words as this are remembered.
_MAX_COMPARED = 4
_MAX_WORD = 48
_MAX_WORDS = 1024

_KNOWN = FLAGS | {"echo"}

_FLAGS = sorted(FLAGS)
_AUDIENCES = [audience.value for audience in Audience]

#: Words that are no flags, and are not like the flag that is meant either. Alone they are slips; a
#: parameter with a value, such as ``user=john``, is the application's own.
_MEANT = {
    **{flag.partition("-")[2]: flag for flag in _FLAGS},
    "listen": "subscribe-broadcast",
    "subscribe": "subscribe-broadcast",
    "publish": "publish-broadcast",
}

#: What stands between flags in the place of "&".
_OTHER_SIGNS = re.compile(r"[\s,;|?/]+")

#: The control characters of Unicode.
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")


def parse_facility(path: str) -> str:
    """
    Decode the path of a URL after its prefix.

    Raises:
        BadRequest: Not UTF-8, too long, or with control characters.
    """
    raw = unquote_to_bytes(path)
    if len(raw) > MAX_FACILITY_BYTES:
        raise BadRequest(f"the facility is longer than {MAX_FACILITY_BYTES} bytes")
    try:
        facility = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("the facility is not UTF-8") from None
    if _CONTROL.search(facility):
        raise BadRequest("the facility has a control character")
    return facility


def parse_access(facility: str, query: str) -> Access:
    """
    Read the flags of a query string.

    Unknown flags are ignored; a hint tells of those that look like a slip.

    Raises:
        BadRequest: More than 1000 parameters.
    """
    parameters = query.split("&") if query else []
    if len(parameters) > _MAX_PARAMETERS:
        raise BadRequest("too many parameters")
    flags = {read_flag(parameter) for parameter in parameters}
    hints = () if flags <= _KNOWN else _hints(parameters)
    if not query and "&" in facility:
        hints = _misplaced(facility)
    return Access(facility, *_rights(FLAGS.intersection(flags)), "echo" in flags, hints=hints)


def _misplaced(facility: str) -> tuple[str, ...]:
    """Return the hint on a URL without a query whose facility has flags. Empty if it has none."""
    flags = {read_flag(each) for each in facility.split("&")[1:_MAX_COMPARED]}
    found = [each for each in _FLAGS if each in flags]
    return (f'flags come after a "?": did you mean ?{"&".join(found)}?',) if found else ()


def _hints(parameters: Iterable[str]) -> tuple[str, ...]:
    """See `Access.hints`."""
    unknown = (each for each in parameters if read_flag(each) not in _KNOWN)
    compared = islice((each for each in unknown if len(each) <= _MAX_WORD), _MAX_COMPARED)
    return tuple(dict.fromkeys(filter(None, map(_hint, compared))))


@lru_cache(_MAX_WORDS)
def _hint(parameter: str) -> str:
    """Return the hint on a parameter that is no flag. Empty if it resembles none."""
    flag = read_flag(parameter)
    # The value may be a secret, also behind an encoded sign.
    shown = ascii(read_flag(parameter.partition("=")[0]).partition("=")[0])[1:-1]
    several = [each for each in _OTHER_SIGNS.split(flag) if each]
    verb, dash, audience = flag.partition("-")
    meant = "" if "=" in parameter else _MEANT.get(flag, "")
    if len(several) > 1 and _KNOWN.issuperset(several):
        meant = "&".join(several)
    elif dash and verb in ("subscribe", "publish"):
        found = nearest(audience, _AUDIENCES)
        if not found:
            return f'unknown flag "{shown}": there are {_listed(verb)}'
        meant = f"{verb}-{found}"
    meant = meant or nearest(flag, _FLAGS)
    return f'unknown flag "{shown}": did you mean {meant}?' if meant else ""


def _listed(verb: str) -> str:
    *most, last = (f"{verb}-{each}" for each in _AUDIENCES)
    return f"{', '.join(most)} and {last}"


#: `parse_flags` of the 256 sets of flags that there are, each once.
_rights = cache(parse_flags)
