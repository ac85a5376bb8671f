"""What the machine says of its processors."""

from pathlib import Path

from pybroker.metrics.machine import Processors, cpu_seconds, open_files


def write(file: Path, busy: int, idle: int) -> None:
    file.write_text(f"cpu {busy} 0 0 {idle} 0 0 0 0 0 0\nprocs_running 3\n")


def test_use_is_that_between_two_looks(tmp_path: Path) -> None:
    file = tmp_path / "stat"
    write(file, 100, 100)
    processors = Processors(file)
    assert processors.look() == (50.0, 3)
    write(file, 110, 190)
    assert processors.look().used == 10.0


def test_two_looks_at_the_same_time_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "stat"
    write(file, 1, 3)
    processors = Processors(file)
    assert processors.look() == processors.look()


def test_machine_that_says_nothing_counts_as_idle(tmp_path: Path) -> None:
    assert Processors(tmp_path / "absent").look() == (0.0, 0)


def test_this_process_uses_something() -> None:
    assert cpu_seconds() > 0
    assert open_files() >= 0
