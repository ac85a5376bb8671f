"""What a process uses, as the kernel counts it."""

import os
from pathlib import Path

__all__ = ["open_files", "resident_bytes"]


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def open_files(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
