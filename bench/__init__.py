"""The benchmark suite: scenarios and peers as data, a runner that interleaves them, and what reads its results.

Only the standard library, so that it runs beside any broker. The load itself comes from the Rust program in `load/`.
"""
