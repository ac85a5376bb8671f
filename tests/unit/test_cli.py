"""The command line: exit codes, what is printed where, and that no user error ends in a traceback."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pybroker import __version__, cli
from pybroker.cli import ExitCode, run
from pybroker.config.schema import Config
from pybroker.errors import ConfigError, StoreError

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Put an application in place that only notes what it was given."""
    configs: list[Config] = []
    app = ModuleType("pybroker.app")

    def serve(config: Config, set_log_level: object, load_again: Callable[[], Config]) -> int:
        configs.append(config)
        assert load_again() == config
        return 0

    app.serve = serve  # type: ignore[attr-defined]  # the module is made here
    monkeypatch.setitem(sys.modules, "pybroker.app", app)
    return configs


def test_version_is_printed(capsys: Capture) -> None:
    assert run(["version"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith(f"pybroker {__version__} (Python 3.")


def test_help_lists_the_commands(capsys: Capture) -> None:
    assert run(["--help"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert all(name in out for name in ("serve", "check", "config", "version"))


def test_module_runs_as_the_command_does() -> None:
    words = [sys.executable, "-m", "pybroker", "version"]
    out = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    assert out.startswith(f"pybroker {__version__} ")


def test_main_ends_the_process(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["version"])
    assert caught.value.code == 0


def test_serve_takes_all_layers(served: list[Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[mqtt]\nmax_inflight = 2\nmax_mqueue_len = 3\n")
    monkeypatch.setenv("PYBROKER__MQTT__MAX_MQUEUE_LEN", "4")
    assert run(["serve", "--config", "p.toml", "--data", "my data", "--set", "mqtt.max_topic_levels=5"]) == ExitCode.OK
    (config,) = served
    assert (config.mqtt.max_inflight, config.mqtt.max_mqueue_len, config.mqtt.max_topic_levels) == (2, 4, 5)
    assert config.node.data_dir == "my data"


def test_serve_warns_of_keys_without_effect(served: list[Config], capsys: Capture) -> None:
    assert run(["serve", "--set", 'prometheus.collectors={vm="enabled"}']) == ExitCode.OK
    assert "without effect: prometheus.collectors (--set)" in capsys.readouterr().err


def test_serve_returns_the_code_of_the_broker(monkeypatch: pytest.MonkeyPatch, served: list[Config]) -> None:
    monkeypatch.setattr(sys.modules["pybroker.app"], "serve", lambda *given: 3)
    assert run(["serve"]) == 3


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (StoreError("cannot open", "/x"), ExitCode.BROKER, "cannot open: '/x'"),
        (OSError(98, "Address already in use"), ExitCode.BROKER, "Address already in use"),
        (ConfigError("a.b", "found 1"), ExitCode.CONFIG, "a.b: found 1"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, ""),
    ],
)
def test_failing_broker_is_explained(
    monkeypatch: pytest.MonkeyPatch,
    served: list[Config],
    capsys: Capture,
    error: BaseException,
    code: ExitCode,
    text: str,
) -> None:
    def serve(*given: object) -> int:
        raise error

    monkeypatch.setattr(sys.modules["pybroker.app"], "serve", serve)
    assert run(["serve"]) == code
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err


def test_check_accepts_a_good_file(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[mqtt]\nmax_inflight = 2\n[listeners.tcp.default]\nacceptors = 8\n")
    assert run(["check", "--config", "p.toml"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out == "p.toml: ok\n"
    told = "accepted for compatibility, without effect: listeners.tcp.default.acceptors (p.toml)"
    assert captured.err == f"warning: {told}\n"


def test_check_shows_every_error(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("nope = 1\n[mqtt]\nmax_inflight = 0\n")
    assert run(["check", "--config", "p.toml"]) == ExitCode.CONFIG
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: the configuration is refused: 2 problems",
        "  p.toml: nope: unknown key; the nearest known one is node",
        "  p.toml: mqtt.max_inflight: found 0, allowed: integer 1..65535",
        "next: correct it, then run: pybroker check --config FILE",
    ]


def test_check_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[log.file]\nenable = true\n")
    assert run(["check", "--config", "p.toml"]) == ExitCode.OK
    assert [path.name for path in tmp_path.iterdir()] == ["p.toml"]


def test_check_refuses_a_data_folder_that_cannot_be_made(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(["check", "--data", "file/data"]) == ExitCode.CONFIG
    assert 'node.data_dir: found "file/data", allowed: folder that can be written' in capsys.readouterr().err


def test_show_prints_what_is_set_and_where(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYBROKER__MQTT__MAX_MQUEUE_LEN", "4")
    assert run(["config", "show", "--set", "mqtt.mqueue_priorities={'a/b'=1}", "--set", "mqtt.max_inflight=5"]) == 0
    assert capsys.readouterr().out == (
        "[mqtt]\n"
        "max_inflight = 5  # --set\n"
        "max_mqueue_len = 4  # PYBROKER__MQTT__MAX_MQUEUE_LEN\n\n"
        "[mqtt.mqueue_priorities]\n"
        '"a/b" = 1\n'
    )


def test_show_without_anything_set_prints_nothing(capsys: Capture) -> None:
    assert run(["config", "show"]) == ExitCode.OK
    assert capsys.readouterr().out == ""


def test_effective_configuration_loads_again(capsys: Capture, tmp_path: Path) -> None:
    assert run(["config", "show", "--effective", "--set", "mqtt.max_inflight=5"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert tomllib.loads(out)["mqtt"]["max_inflight"] == 5
    (tmp_path / "p.toml").write_text(out)
    assert run(["check", "--config", "p.toml"]) == ExitCode.OK


def test_shown_json_has_keys_and_sources(capsys: Capture) -> None:
    assert run(["config", "show", "--json", "--set", "mqtt.max_inflight=5"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {
        "config": {"mqtt": {"max_inflight": 5}},
        "sources": {"mqtt.max_inflight": "--set"},
    }


@pytest.mark.parametrize("options", [[], ["--json"], ["--effective"]])
def test_secrets_are_not_shown(capsys: Capture, options: list[str]) -> None:
    assert run(["config", "show", *options, "--set", "dashboard.default_password=hunter2"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "******" in out


@pytest.mark.parametrize("words", [["--nope"], ["nope"], ["check", "--nope"], ["check", "extra"], ["serve", "--set"]])
def test_wrong_command_line_is_explained(capsys: Capture, words: list[str]) -> None:
    assert run(words) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "Error: " in err
    assert "Traceback" not in err


def test_every_exit_code_is_in_the_table() -> None:
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", cli.__doc__ or "", re.MULTILINE)]
    assert listed == list(ExitCode)
