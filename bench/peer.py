"""Brokers as data: how each is configured and started, and one running process with free ports and its own folder.

A process is ended by its own id; nothing outside its folder is written.
"""

import contextlib
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "peers"
_START_S = 30.0
_STOP_S = 10.0
_TRANSPORTS = {"tls": "no TLS listener", "ws": "no WebSocket listener"}
_PORTS = ("tcp_port", "tls_port", "ws_port", "other_port", "second_port")


class PeerError(Exception):
    """A broker cannot be used; the text says why, and how to install it if it is missing."""


@dataclass(frozen=True)
class Variant:
    """Settings beside the common ones: more arguments, more lines of the configuration file, more files by name."""

    command: Sequence[str] = ()
    config: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """One broker.

    `best_of` names variants of which the better one is used; without it the first variant is. `v5_port` names the port
    for MQTT 5 where it is another one. `cannot` says, by pattern of scenario names, why it is not measured there.
    `drops` names the counters whose sum is what it dropped, as its metrics at `other_port` have them. `is_broker` is
    false for what only shows what the machine costs: nobody is compared with it.
    """

    name: str
    title: str
    program: Sequence[str]
    command: Sequence[str]
    config: str
    transports: Sequence[str]
    variants: Mapping[str, Variant]
    best_of: Sequence[str]
    version: str
    config_name: str
    v5_port: str | None
    cannot: Mapping[str, str]
    drops: Sequence[str] = ()
    is_broker: bool = True

    def port_name(self, transport: str, *, is_v5: bool) -> str:
        """Return which of its ports a client takes; some have one of their own for MQTT 5."""
        return self.v5_port if is_v5 and self.v5_port else f"{transport}_port"

    def reason_against(self, scenario: str, transport: str) -> str | None:
        """Return why a scenario cannot be put on it, or `None`."""
        if transport not in self.transports:
            return _TRANSPORTS.get(transport, f"no {transport} listener")
        return next((reason for pattern, reason in self.cannot.items() if fnmatch(scenario, pattern)), None)


def load(name: str, programs: Mapping[str, str]) -> Peer:
    """Read `peers/NAME.toml`; `NAME:VARIANT` pins one variant. `programs` replaces `{key}` in `program`.

    Raises:
        PeerError: no such file, or the program is not installed.
    """
    base, _, variant = name.partition(":")
    path = FOLDER / f"{base}.toml"
    if not path.exists():
        raise PeerError(f"no such peer: {base}")
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    program = shlex.split(data["program"].format_map(programs))
    found = _find(program[0])
    if found is None:
        raise PeerError(f"{base} is not installed: {data['install']}")
    variants = {key: _variant(value) for key, value in data["variants"].items()}
    if variant:
        if variant not in variants:
            raise PeerError(f"{base} has no variant: {variant}")
        variants = {variant: variants[variant]}
    program[0] = found
    return Peer(
        name=name,
        title=f"{data['title']} ({variant})" if variant else data["title"],
        program=program,
        command=data["command"],
        config=data.get("config", ""),
        transports=data["transports"],
        variants=variants,
        best_of=() if variant else data.get("best_of", ()),
        version=data.get("stated_version") or _version([*program, *data["version"]]),
        config_name=data.get("config_name", "broker.conf"),
        v5_port=data.get("v5_port"),
        cannot=data.get("cannot", {}),
        drops=data.get("drops", ()),
        is_broker=data.get("is_broker", True),
    )


def _variant(data: Mapping[str, Any]) -> Variant:
    """Read one variant; a file of its own is `count` times `line`, with its number for `{n}`, and `tail`."""
    files = {
        name: "".join(f"{about['line']}\n".replace("{n}", str(n)) for n in range(about["count"])) + about["tail"] + "\n"
        for name, about in data.get("files", {}).items()
    }
    return Variant(data.get("command", ()), data.get("config", ""), files)


def _find(program: str) -> str | None:
    """Look in target/peers/bin, PATH, and the folders of system programs."""
    own = Path(__file__).parent.parent / "target" / "peers" / "bin"
    return shutil.which(
        program, path=os.pathsep.join([str(own), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    )


def _version(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


@dataclass(frozen=True)
class Certificates:
    """Files of a throw-away authority and of a server certificate for localhost."""

    cafile: Path
    certfile: Path
    keyfile: Path

    @classmethod
    def create(cls, folder: Path) -> "Certificates":
        """Make them with the openssl program.

        Raises:
            PeerError: openssl is missing or fails.
        """
        made = cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        request, extension, ca_key = folder / "server.csr", folder / "extension", folder / "ca.key"
        extension.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n", encoding="utf-8")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for step in (
            ["req", "-x509", *curve, "-keyout", ca_key, "-out", made.cafile, "-days", "30", "-subj", "/CN=bench"],
            ["req", *curve, "-keyout", made.keyfile, "-out", request, "-subj", "/CN=localhost"],
            [
                "x509", "-req", "-in", request, "-CA", made.cafile, "-CAkey", ca_key, "-CAcreateserial",
                "-out", made.certfile, "-days", "30", "-extfile", extension,
            ],
        ):  # fmt: skip
            try:
                subprocess.run(["openssl", *map(str, step)], check=True, capture_output=True, timeout=60)
            except (OSError, subprocess.SubprocessError) as error:
                raise PeerError(f"openssl cannot make certificates: {error}") from None
        # Brokers that drop privileges read them as another user.
        for file in (made.cafile, made.certfile, made.keyfile):
            file.chmod(0o644)
        return made


@dataclass(frozen=True)
class RunningPeer:
    """A broker that accepts connections."""

    pid: int
    ports: Mapping[str, int]
    log: Path

    def log_tail(self) -> str:
        """Return the last lines that it wrote."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


@contextlib.contextmanager
def running(
    peer: Peer, variant: str, certificates: Certificates, cores: Collection[int] | None = None
) -> Iterator[RunningPeer]:
    """Start a broker on free ports, give it, and end it. `cores` are those that it may use, `None` for all.

    Raises:
        PeerError: it ended early or does not accept connections within 30 s.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        chosen = peer.variants[variant]
        files = {"certfile": certificates.certfile, "keyfile": certificates.keyfile, "dir": folder}
        values = {key: str(value) for key, value in {**ports, **files}.items()}
        config = folder / peer.config_name
        config.write_text(_fill(f"{chosen.config}\n{peer.config}", values), encoding="utf-8")
        for name, text in chosen.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        command = [*peer.program, *(_fill(word, values) for word in [*peer.command, *chosen.command])]
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                start_new_session=True,
                preexec_fn=on_cores(cores),  # noqa: PLW1509 # it calls the system and nothing else
            )
        started = RunningPeer(process.pid, ports, log)
        try:
            for transport in peer.transports:
                _wait_until_it_accepts(process, started, ports[f"{transport}_port"])
            yield started
        finally:
            _stop(process)


def on_cores(cores: Collection[int] | None) -> Callable[[], None] | None:
    """Return what a new process does first to stay on these cores; `None` if it may use all."""
    return None if cores is None else partial(os.sched_setaffinity, 0, set(cores))


def _fill(text: str, values: Mapping[str, str]) -> str:
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    return text


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_it_accepts(process: "subprocess.Popen[bytes]", started: RunningPeer, port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PeerError(f"ended with {process.returncode}: {started.log_tail()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise PeerError(f"does not accept connections on port {port}: {started.log_tail()}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def raise_file_limit() -> int:
    """Raise the limit of open files, which brokers inherit, to the hard limit; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
