"""One file out of a `multipart/form-data` body. Forms with other fields are not read."""

import re

from pybroker.errors import Refused

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))')
_NAME = re.compile(rb'(?i)^content-disposition:\s*form-data\s*;(?:.*;)?\s*name="([^"]*)"')
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
    for part in (b"\r\n" + body).split(boundary)[1:-1]:
        head, has_content, content = part.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        names = [match[1] for line in lines if (match := _NAME.match(line))]
        if has_content and names == [name.encode()]:
            file_names = [match[1] for line in lines if (match := _FILE_NAME.match(line))]
            return Part(content, file_names[0].decode("utf-8", "replace") if file_names else "")
    raise Refused("BAD_REQUEST", f"form has no part: {name!r}")
