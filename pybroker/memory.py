"""What the C library does with the memory of the process; the one place that tells it.

Only glibc can be told. The others (musl) have neither several arenas nor holes that a call could give back, so there is
nothing to tell them: both functions say so and do nothing. Both are for `pybroker serve`; commands end too soon.
"""

import ctypes

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_one_arena() -> bool:
    """Let all threads allocate from one arena; before any thread is started.

    What the loop allocates for a client is freed by a shard and the other way round. With an arena for each thread the
    holes that this leaves are not filled again: some 17 bytes for each connect, for ever; with one arena none.

    Returns:
        Whether the C library did it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1


def give_back_freed() -> bool:
    """Give memory that was freed back to the system, also from below what is in use.

    Walks the whole heap: for the end of a start, not for while messages flow.

    Returns:
        Whether the C library gave something back.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and trim(0) == 1
