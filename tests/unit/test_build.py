"""The build: what a source distribution and a wheel hold, and that the manifests agree with each other."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def run_hook(hook: str, source: Path, out: Path, **environment: str) -> Path:
    """Call one PEP 517 hook of the tree in `source`, as pip does, and return the file that it made."""
    code = (
        "import sys; sys.path.insert(0, 'build_backend'); import backend; "
        "print(getattr(backend, sys.argv[1])(sys.argv[2]))"
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, hook, str(out)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def clone() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(clone: Path) -> dict[str, Any]:
    return read_toml(clone / "pyproject.toml")


@pytest.fixture(scope="module")
def sdist(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_hook("build_sdist", clone, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return tree


@pytest.fixture(scope="module")
def compiled_tree(unpacked: Path) -> Iterator[Path]:
    """Give the unpacked tree one module to compile, whatever the real list holds."""
    package = unpacked / "pybroker" / "probe"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package with a module to compile."""\n', encoding="utf-8")
    (package / "twice.py").write_text("def twice(value):\n    return value * 2\n", encoding="utf-8")
    (package / "twice.pxd").write_text("cpdef twice(value)\n", encoding="utf-8")
    (package / f"gone{SUFFIX}").write_bytes(b"")
    manifest = unpacked / "pyproject.toml"
    before = manifest.read_text(encoding="utf-8")
    listed = re.sub(r"(?s)(\[tool\.pybroker\.cython\].*?\nmodules = \[)", r'\1"pybroker.probe.twice", ', before)
    manifest.write_text(listed, encoding="utf-8")
    yield unpacked
    manifest.write_text(before, encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(clone: Path, compiled_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the unpacked sdist, sharing compiled dependencies with the clone."""
    return run_hook(
        "build_wheel",
        compiled_tree,
        tmp_path_factory.mktemp("wheel"),
        PURE="0",
        CARGO_TARGET_DIR=str(clone / "target"),
        MATURIN_PEP517_ARGS="--profile dev",
    )


def test_manifests_name_one_version(clone: Path, settings: dict[str, Any]) -> None:
    cargo = read_toml(clone / "Cargo.toml")["workspace"]["package"]
    package = (clone / "pybroker" / "__init__.py").read_text(encoding="utf-8")
    assert settings["project"]["version"] == cargo["version"]
    assert f'__version__ = "{cargo["version"]}"' in package


def test_manifests_name_one_licence(clone: Path, settings: dict[str, Any]) -> None:
    cargo = read_toml(clone / "Cargo.toml")["workspace"]["package"]
    assert settings["project"]["license"] == cargo["license"] == "Apache-2.0"
    assert "Apache License" in (clone / "LICENSE").read_text(encoding="utf-8")


def test_build_group_repeats_build_requirements(settings: dict[str, Any]) -> None:
    assert settings["dependency-groups"]["build"] == settings["build-system"]["requires"]


def test_runtime_dependencies_have_both_bounds(settings: dict[str, Any]) -> None:
    for requirement in settings["project"]["dependencies"]:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+,<[0-9]+", requirement), requirement


def test_listed_modules_exist_inside_a_subpackage(clone: Path, settings: dict[str, Any]) -> None:
    for name in settings["tool"]["pybroker"]["cython"]["modules"]:
        assert name.count(".") >= 2, name
        assert (clone / (name.replace(".", "/") + ".py")).is_file(), name


def test_npm_lock_names_no_registry(clone: Path) -> None:
    packages = json.loads((clone / "tests" / "e2e" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages["node_modules/mqtt"]["integrity"]
    assert not [name for name, package in packages.items() if "resolved" in package]


@pytest.mark.timeout(300)
def test_sdist_holds_every_source(clone: Path, unpacked: Path) -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "pybroker", "admin", "rust_core/*/src", "build_backend"],
        cwd=clone, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode != 0:
        pytest.skip("not run: this is not a git clone")
    sources = {name for name in listing.stdout.split("\0") if name and (clone / name).exists()}
    beside = {"pyproject.toml", "Cargo.toml", "Cargo.lock", "LICENSE", "NOTICE", "README.md", "CHANGELOG.md"}
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert (sources | beside) - held == set()


@pytest.mark.timeout(300)
def test_sdist_holds_nothing_compiled(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        assert [name for name in archive.getnames() if name.endswith((".so", ".c", ".pyc"))] == []


@pytest.mark.timeout(300)
def test_wheel_holds_rust_and_cython_modules(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        compiled = {name for name in archive.namelist() if name.endswith((".so", ".c"))}
    assert {f"pybroker/_core{SUFFIX}", f"pybroker/probe/twice{SUFFIX}"} <= compiled
    assert {name for name in compiled if name.endswith(".c") or "/gone" in name} == set()


@pytest.mark.timeout(300)
def test_wheel_is_made_for_one_interpreter(wheel: Path) -> None:
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.split("-")[2:4] == [tag, tag]


@pytest.mark.timeout(300)
def test_wheel_gives_the_command_and_its_requirements(wheel: Path, settings: dict[str, Any]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.split("/")[0] for name in archive.namelist() if name.split("/")[0].endswith(".dist-info")}
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
        metadata = archive.read(f"{folder}/METADATA").decode()
        licences = [name for name in archive.namelist() if name.startswith(f"{folder}/licenses/")]
    assert "pybroker=pybroker.cli:main" in scripts.replace(" ", "")
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert len(needed) == len(settings["project"]["dependencies"])
    assert sorted(Path(name).name for name in licences) == ["LICENSE", "NOTICE"]


@pytest.mark.timeout(300)
def test_wheel_imports_compiled_modules(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import pybroker._core as c, pybroker.probe.twice as t; print(c.__file__, t.__file__, t.twice(21), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env={"PATH": os.defpath}
    )
    core, compiled, answer = done.stdout.split()
    assert Path(core).is_relative_to(tmp_path)
    assert Path(compiled) == tmp_path / "pybroker" / "probe" / f"twice{SUFFIX}"
    assert answer == "42"


@pytest.mark.timeout(300)
def test_pure_build_removes_compiled_modules(compiled_tree: Path, wheel: Path) -> None:
    assert wheel.is_file()
    module = compiled_tree / "pybroker" / "probe" / f"twice{SUFFIX}"
    assert module.is_file()
    environment = {**os.environ, "PURE": "1"}
    subprocess.run([sys.executable, "build_backend/backend.py"], cwd=compiled_tree, env=environment, check=True)
    assert not module.exists()


@pytest.mark.timeout(300)
def test_modules_stay_uncompiled_without_c_headers(compiled_tree: Path) -> None:
    code = (
        "import sys, sysconfig; sysconfig.get_path = lambda name: '/nonexistent'; "
        "sys.path.insert(0, 'build_backend'); import backend; print(backend.listed_modules())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=compiled_tree,
        env={**os.environ, "PURE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert "Python.h is missing" in done.stderr
