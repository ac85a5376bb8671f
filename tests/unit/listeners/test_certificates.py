"""Certificate files that change under a running listener."""

import asyncio
import os
from pathlib import Path

import pytest
import structlog

from pybroker.listeners import certificates
from pybroker.listeners.certificates import CertificateWatch
from pybroker.types import ListenerId
from tests.support.fake_core import FakeEngine
from tests.support.wire import eventually

SSL = ListenerId("ssl:default")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "cert.pem"
    file.write_text("one")
    return file


def watching(file: Path) -> tuple[CertificateWatch, FakeEngine]:
    engine = FakeEngine()
    watch = CertificateWatch(engine.as_core())
    watch.watch(4, SSL, [str(file)])
    return watch, engine


def test_unchanged_file_is_not_read_again(file: Path) -> None:
    watch, engine = watching(file)
    watch.poll()
    assert engine.calls == []


def test_changed_file_is_read_once(file: Path) -> None:
    watch, engine = watching(file)
    file.write_text("another")
    watch.poll()
    watch.poll()
    assert engine.calls == [("reload_tls", 4)]


def test_file_of_the_same_size_and_time_in_another_place_is_seen(file: Path) -> None:
    watch, engine = watching(file)
    before = file.stat()
    other = file.with_name("new.pem")
    other.write_text("two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    watch.poll()
    assert engine.calls == [("reload_tls", 4)]


def test_file_that_vanishes_and_returns_is_tried_each_time(file: Path) -> None:
    watch, engine = watching(file)
    file.unlink()
    watch.poll()
    watch.poll()
    file.write_text("back")
    watch.poll()
    assert len(engine.calls) == 2


def test_broken_file_is_logged_with_its_name_and_changes_nothing(file: Path) -> None:
    watch, engine = watching(file)
    engine.raises = ValueError(f"no private key in '{file}'")
    file.write_text("broken")
    with structlog.testing.capture_logs() as lines:
        watch.poll()
    assert lines == [
        {
            "event": "certificate_not_reloaded",
            "log_level": "error",
            "listener": SSL,
            "reason": f"no private key in '{file}'",
        }
    ]


def test_files_that_mean_the_same_are_not_called_reloaded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, engine = watching(file)
    monkeypatch.setattr(engine, "reload_tls", lambda number: False)
    with structlog.testing.capture_logs() as lines:
        watch.reload()
    assert lines == []


def test_operator_may_have_all_files_read(file: Path) -> None:
    watch, engine = watching(file)
    with structlog.testing.capture_logs() as lines:
        watch.reload()
    assert engine.calls == [("reload_tls", 4)]
    assert [line["event"] for line in lines] == ["certificate_reloaded"]
    watch.poll()
    assert len(engine.calls) == 1


def test_closed_listener_is_not_watched(file: Path) -> None:
    watch, engine = watching(file)
    watch.forget(4)
    watch.forget(4)
    file.write_text("another")
    watch.poll()
    watch.reload()
    assert engine.calls == []


async def test_files_are_looked_at_again_and_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "POLL_S", 0.0)
    watch, engine = watching(file)
    task = asyncio.create_task(watch.run())
    change(file, "second")
    await eventually(lambda: len(engine.calls) == 1)
    change(file, "the third")
    await eventually(lambda: len(engine.calls) == 2)
    task.cancel()


def change(file: Path, text: str) -> None:
    """Replace a file at once, as a careful operator does."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
