"""The real broker as a child process, in a directory and on ports of its own.

`Broker.start` returns when the program has said `ready`. An `ExternalBroker` stands for one that somebody else runs, so
that the protocol tests can be pointed at it. No test logic here.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeAlias

from tests.support.wire import Address

__all__ = ["Broker", "BrokerStartError", "ExternalBroker", "RunningBroker", "Setting", "Settings"]

Setting: TypeAlias = bool | int | float | str | Sequence[str]
Settings: TypeAlias = Mapping[str, Setting]
"""Dotted configuration key to value, as `--set` takes them."""

START_S = 20.0
STOP_S = 15.0

_PORT_ZERO: Settings = {
    "listeners.tcp.default.bind": "127.0.0.1:0",
    "listeners.ws.default.bind": "127.0.0.1:0",
    "dashboard.listeners.http.bind": "127.0.0.1:0",
}


class BrokerStartError(Exception):
    """The broker ended, or said nothing, before it was ready; the text has its output."""


class RunningBroker(Protocol):
    """What tests need of a broker, ours or foreign."""

    def address(self, kind: str = "tcp", name: str = "default") -> Address:
        """Return where a listener can be reached."""


class ExternalBroker:
    """A broker that was running before the tests and stays afterwards; it has one TCP listener."""

    def __init__(self, port: int, websocket_port: int = 0) -> None:
        self._ports = {"tcp": port, "ws": websocket_port}

    def address(self, kind: str = "tcp", name: str = "default") -> Address:
        """Return where a listener can be reached."""
        return Address(port=self._ports[kind])


class Broker:
    """One `pybroker serve` process."""

    def __init__(self, process: "subprocess.Popen[str]", directory: Path) -> None:
        self.process = process
        self.directory = directory
        self._listeners: dict[tuple[str, str], str] = {}
        self._output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="broker output", daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls,
        directory: Path,
        settings: Settings | None = None,
        *,
        config: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start the program and wait until it is ready.

        Args:
            directory: holds configuration, data and error output; must exist.
            settings: keys for `--set`, on top of listeners on free loopback ports.
            config: text of the configuration file.
            environment: added to this process's environment.

        Raises:
            BrokerStartError: it ended or was silent for 20 s.
        """
        file = directory / "pybroker.toml"
        file.write_text(config, encoding="utf-8")
        command = [sys.executable, "-m", "pybroker", "serve", "--config", str(file), "--data", str(directory / "data")]
        for key, value in {**_PORT_ZERO, **(settings or {})}.items():
            command += ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
        with (directory / "stderr.log").open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            )
        broker = cls(process, directory)
        broker._wait_until_ready()
        return broker

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything the program has written so far, standard output first."""
        return "\n".join(self._output) + "\n" + (self.directory / "stderr.log").read_text(encoding="utf-8")

    def address(self, kind: str = "tcp", name: str = "default") -> Address:
        """Return where a listener can be reached."""
        where = self._listeners[kind, name]
        if kind == "unix":
            return Address(path=where)
        host, _, port = where.rpartition(":")
        return Address(host=host.strip("[]"), port=int(port))

    def port(self, kind: str = "tcp", name: str = "default") -> int:
        """Return a listener's port."""
        return self.address(kind, name).port

    def stop(self) -> None:
        """Ask for an orderly end and insist on exit code 0."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self._wait()
        assert code == 0, f"exit code {code}:\n{self.log}"

    def reload(self) -> None:
        """Send SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(STOP_S)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._output.append(line.rstrip("\n"))
                self._lines.put(line.strip())
        self._lines.put(None)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                self.process.kill()
                self._wait()
                raise BrokerStartError(f"exit code {self.process.returncode}:\n{self.log}")
            words = line.split()
            if words[:1] == ["listener"] and words[2:4] == ["started", "on"]:
                kind, _, name = words[1].partition(":")
                self._listeners[kind, name] = " ".join(words[4:])
            elif line == "ready":
                return
