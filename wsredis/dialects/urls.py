"""The grammar of URLs of the plain dialect: the path is a facility, and the query has flags."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import unquote_to_bytes

from wsredis.channels import FLAGS, Access, parse_flags, read_flag
from wsredis.errors import BadRequest

__all__ = ["MAX_FACILITY_BYTES", "parse_access", "parse_facility"]

#: The longest facility, in bytes of UTF-8 after percent-decoding.
MAX_FACILITY_BYTES = 255

#: More parameters than this are refused; Django, which served this contract, has the same bound.
_MAX_PARAMETERS = 1000

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

    Unknown flags are ignored.

    Raises:
        BadRequest: More than 1000 parameters.
    """
    parameters = query.split("&") if query else []
    if len(parameters) > _MAX_PARAMETERS:
        raise BadRequest("too many parameters")
    flags = {read_flag(parameter) for parameter in parameters}
    return Access(facility, *_rights(FLAGS.intersection(flags)), "echo" in flags)


#: `parse_flags` of the 256 sets of flags that there are, each once.
_rights = cache(parse_flags)
