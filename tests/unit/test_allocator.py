"""How the process allocates memory: one arena of the C library, however many threads there are."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, sys, threading
from pybroker.cli import share_one_arena

if "shared" in sys.argv:
    share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
met = threading.Barrier(4)


def allocate():
    libc.malloc(100_000)
    met.wait()


threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stdout.flush()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(*arguments: str) -> int:
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    output = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30).stdout
    return output.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are those of glibc")
def test_threads_share_one_arena() -> None:
    assert arenas() > 1
    assert arenas("shared") == 1
