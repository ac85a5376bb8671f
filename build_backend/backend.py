"""PEP 517 backend: compile the Cython modules in place, then let maturin build the Rust module and pack the wheel.

The modules are listed in `[tool.pybroker.cython]` of pyproject.toml; each is a plain `.py` with an optional `.pxd`.
After a call the source tree holds exactly the compiled modules of that list for the running interpreter; with `PURE=1`,
or where the interpreter's C headers are missing, it holds none and the same files run uncompiled.
Run as a program it does the first half only. Nothing else about the build belongs here.
"""

import os
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import maturin
from maturin import (  # noqa: F401  the hooks that need no compiled module are maturin's own
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

Settings = dict[str, Any] | None


def listed_modules() -> list[str]:
    """Return the dotted names of the modules to compile; empty where they must run uncompiled."""
    if os.environ.get("PURE") == "1":
        return []
    tool = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]
    names: list[str] = tool["pybroker"]["cython"]["modules"]
    if names and not Path(sysconfig.get_path("include"), "Python.h").exists():
        sys.stderr.write("pybroker: Python.h is missing (Debian: python3-dev), the Cython modules run uncompiled\n")
        return []
    return names


def compile_modules() -> None:
    """Compile the listed modules in place and remove every other compiled module but `_core`.

    Raises:
        setuptools.errors.CompileError, Cython.Compiler.Errors.CompileError: a module does not compile.
    """
    names = listed_modules()
    sources = {name: Path(*name.split(".")) for name in names}
    wanted = {source.with_suffix(sysconfig.get_config_var("EXT_SUFFIX")) for source in sources.values()}
    for compiled in set(Path("pybroker").rglob("*.so")) - wanted:
        if not compiled.name.startswith("_core."):
            compiled.unlink()
    if not names:
        return
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extensions = cythonize(
        [Extension(name, [f"{source}.py"]) for name, source in sources.items()],
        build_dir="build/cython",
        # Types for the compiler come from the .pxd alone: the annotations belong to mypy.
        compiler_directives={"language_level": "3", "annotation_typing": False},
    )
    command = build_ext(Distribution({"name": "pybroker", "ext_modules": extensions}))
    command.inplace, command.build_temp, command.parallel = True, "build/objects", True
    command.ensure_finalized()
    command.run()


def build_wheel(directory: str, settings: Settings = None, metadata: str | None = None) -> str:
    """Build the wheel into `directory` and return its file name (PEP 517)."""
    compile_modules()
    return maturin.build_wheel(directory, settings, metadata)


def build_editable(directory: str, settings: Settings = None, metadata: str | None = None) -> str:
    """Build the editable wheel into `directory` and return its file name (PEP 660)."""
    compile_modules()
    return maturin.build_editable(directory, settings, metadata)


if __name__ == "__main__":
    compile_modules()
