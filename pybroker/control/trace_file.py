"""The file of a trace: appended to up to a size, read piece by piece, packed for download. Blocks; for threads."""

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

MAX_READ = 1 << 20
"""Most bytes of a file in one piece."""


class Piece(NamedTuple):
    """Some text of a file.

    Args:
        end: offset behind it.
        is_last: whether nothing follows now.
    """

    text: str
    end: int
    is_last: bool


class TraceFile:
    """One file, which need not exist.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes; 0 if there is no file."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def changed_s(self) -> int:
        """Wall second of the last write; 0 if there is no file."""
        try:
            return int(self.path.stat().st_mtime)
        except OSError:
            return 0

    def append(self, lines: list[str], max_bytes: int) -> bool:
        """Write whole lines as long as they fit; return whether all did.

        Raises:
            OSError: the disk refused.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        room, kept = max_bytes - self.size, bytearray()
        for line in lines:
            encoded = line.encode(errors="replace")
            if len(kept) + len(encoded) > room:
                break
            kept += encoded
        else:
            room = -1
        with open(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as file:
            file.write(kept)
        return room == -1

    def read(self, offset: int, most: int) -> Piece | None:
        """Return up to `most` bytes of text from an offset on; `None`: the file does not reach that far.

        A character is never cut; at least one is returned where one follows.
        """
        if offset > self.size:
            return None
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                found = file.read(max(4, min(most, MAX_READ)))
                rest = file.read(1)
        except FileNotFoundError:
            return Piece("", offset, True)
        whole = _whole(found) if rest else len(found)
        return Piece(found[:whole].decode(errors="replace"), offset + whole, not rest)

    def pack(self, target: Path, name: str) -> bool:
        """Write a zip archive with the file in it under a name; return whether there was anything.

        Raises:
            OSError: the disk refused.
        """
        if not self.size:
            return False
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(self.path, name)
        return True

    def remove(self) -> None:
        """Delete the file; one that is not there is no error."""
        self.path.unlink(missing_ok=True)


def remove_others(folder: Path, kept: set[str]) -> None:
    """Delete the files of traces in a folder but for those of these names."""
    for path in folder.glob("*.log"):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def _whole(found: bytes) -> int:
    """Return how many bytes do not end within a character."""
    for back in range(1, min(4, len(found)) + 1):
        byte = found[-back]
        if byte & 0xC0 != 0x80:
            width = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(found) if width <= back else len(found) - back
    return len(found)
