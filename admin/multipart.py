"""One file out of a `multipart/form-data` body. Forms with other fields are not read."""

import re

from pybroker.errors import Refused

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))')
_NAME = re.compile(rb'(?i)^content-disposition:\s*form-data\s*;(?:.*;)?\s*name="([^"]*)"')
_BLANK_LINE = b"\r\n\r\n"
_FILE_NAME = re.compile(rb'(?i)^content-disposition:.*;\s*filename="([^"]*)"')


class Part:
    """A part of a form.

    Args:
        file_name: as the client calls it; empty if it does not.
    """

    def __init__(self, content: bytes, file_name: str) -> None:
        self.content = content
        self.file_name = file_name


def find_part(body: bytes, content_type: str, name: str) -> Part:
    """Return the part of that name.

    Args:
        content_type: header of the request.

    Raises:
        Refused: `BAD_REQUEST`: there is none, or the body is no form.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Refused("BAD_REQUEST", "boundary of the form is missing")
    boundary = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    # A form begins with a boundary that has no line end before it.
    start = len(boundary) - 2 if body.startswith(boundary[2:]) else _behind(body, boundary, 0)
    while start >= 0 and (end := body.find(boundary, start)) >= 0:
        behind_head = body.find(_BLANK_LINE, start, end)
        lines = body[start : max(behind_head, start)].split(b"\r\n")
        names = [match[1] for line in lines if (match := _NAME.match(line))]
        if names == [name.encode()]:
            file_names = [match[1] for line in lines if (match := _FILE_NAME.match(line))]
            # A copy of megabytes takes milliseconds, so there is only this one.
            content = body[behind_head + len(_BLANK_LINE) : end]
            return Part(content, file_names[0].decode("utf-8", "replace") if file_names else "")
        start = end + len(boundary)
    raise Refused("BAD_REQUEST", f"form has no part: {name!r}")


def _behind(body: bytes, mark: bytes, start: int) -> int:
    """Return where a mark ends; -1: there is none."""
    found = body.find(mark, start)
    return found if found < 0 else found + len(mark)
