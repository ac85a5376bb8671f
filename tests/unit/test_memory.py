"""How the process holds memory: one arena of the C library for all threads, and nothing of what the start has freed."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pybroker import memory

_ARENAS = """
import ctypes, sys, threading
from pybroker.memory import share_one_arena

if "shared" in sys.argv:
    assert share_one_arena()
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

_FREED = """
import ctypes, pathlib, re
from pybroker.memory import give_back_freed


def resident_kib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])


libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
# Below one that stays, so that the C library cannot shorten its heap by itself.
blocks = [libc.malloc(60_000) for _ in range(1_000)]
for block in blocks:
    ctypes.memset(block, 1, 60_000)
for block in blocks[:-1]:
    libc.free(block)
before = resident_kib()
assert give_back_freed()
print(before - resident_kib())
"""

_SERVE = """
import os, signal, sys
from pybroker import cli, memory


def said(what, value):
    print(what, len(os.listdir("/proc/self/task")), flush=True)
    return value


memory.share_one_arena = lambda: said("arena", True)
memory.give_back_freed = lambda: said("freed", bool(signal.raise_signal(signal.SIGTERM)))
cli.main(["serve", "--data", sys.argv[1], *(f"--set={key}=127.0.0.1:0" for key in (
    "listeners.tcp.default.bind", "listeners.ws.default.bind", "dashboard.listeners.http.bind"))])
"""

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries cannot be told")


def output_of(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=30).stdout


@glibc_only
def test_threads_share_one_arena() -> None:
    assert output_of(_ARENAS).count("<heap nr=") > 1
    assert output_of(_ARENAS, "shared").count("<heap nr=") == 1


@glibc_only
def test_freed_memory_goes_back_from_below_what_is_in_use() -> None:
    assert int(output_of(_FREED)) > 40_000


def test_serve_shares_before_threads_start_and_gives_back_what_the_start_freed(tmp_path: Path) -> None:
    lines = output_of(_SERVE, str(tmp_path)).splitlines()
    assert lines[0] == "arena 1"
    assert lines.index("ready") == next(at for at, line in enumerate(lines) if line.startswith("freed ")) + 1


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not memory.share_one_arena()
    assert not memory.give_back_freed()
