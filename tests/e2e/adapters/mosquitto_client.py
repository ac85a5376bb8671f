"""mosquitto_pub and mosquitto_sub: a process for each message that is sent, and one for each subscription.

A client id belongs to the subscribing process; publishing ones get ids of the program's own.
"""

import asyncio
import contextlib
import shutil
from typing import ClassVar

from tests.e2e.adapters.client import PATIENCE_S, Client, Message, Transport
from tests.support.packets import Version

__all__ = ["PROGRAMS", "MosquittoClient"]

PROGRAMS = ("mosquitto_pub", "mosquitto_sub", "stdbuf")

_SEPARATOR = "\x1f"
_FIELDS = ("%t", "%q", "%r", "%x", "%P", "%R", "%D", "%C")
_VERSION_NAMES = {Version.V31: "mqttv31", Version.V311: "mqttv311", Version.V5: "mqttv5"}
_LINE_LIMIT = 4 << 20


class MosquittoClient(Client):
    """The two programs of mosquitto-clients."""

    name: ClassVar[str] = "mosquitto"
    transports: ClassVar[tuple[Transport, ...]] = (
        Transport.TCP,
        Transport.TLS,
        Transport.MUTUAL_TLS,
        Transport.UNIX,
    )

    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    async def _connect(self) -> bool | None:
        """Do nothing: the processes connect by themselves."""
        return None

    async def subscribe(self, filter: str, qos: int) -> None:
        assert self._process is None, "one subscription a client: it is one process"
        options = self.options
        # The program writes its notes and its messages to one stream, which is a pipe here: line by line, please.
        words = ["-oL", "mosquitto_sub", *self._where(), "-d", "-i", options.client_id, "-t", filter, "-q", str(qos)]
        words += ["-F", _SEPARATOR.join(_FIELDS)]
        if not options.clean:
            words.append("-c")
        if options.version is Version.V5:
            words += ["-x", str(options.session_expiry_s)]
        if options.will is not None:
            words += ["--will-topic", options.will.topic, "--will-payload", options.will.payload.decode()]
            words += ["--will-qos", str(options.will.qos), *(["--will-retain"] if options.will.retain else [])]
        self._process = await asyncio.create_subprocess_exec(
            _program("stdbuf"), *words, stdout=asyncio.subprocess.PIPE, limit=_LINE_LIMIT
        )
        granted: asyncio.Future[str] = self._loop.create_future()
        self._reading = asyncio.create_task(self._read(self._process, granted))
        async with asyncio.timeout(PATIENCE_S):
            line = await granted
        assert line.endswith(f": {qos}"), line

    async def resume(self, filter: str, qos: int) -> None:
        """Subscribe again: the program cannot connect without."""
        await self.subscribe(filter, qos)

    async def publish(self, message: Message, *more: str) -> None:
        """Publish one message; `more` is put on the command line."""
        words = [*self._where(), "-t", message.topic, "-q", str(message.qos), "-s" if message.payload else "-n", *more]
        if message.retain:
            words.append("-r")
        if self.options.version is Version.V5:
            words += _properties(message)
        process = await asyncio.create_subprocess_exec(
            _program("mosquitto_pub"), *words, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE_S):
            _, errors = await process.communicate(message.payload)
        assert process.returncode == 0, errors.decode()

    async def _disconnect(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._finish(self._process)

    async def _cut(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._finish(self._process)

    async def _finish(self, process: asyncio.subprocess.Process) -> None:
        self._process = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            raise
        finally:
            assert self._reading is not None
            await self._reading

    async def _read(self, process: asyncio.subprocess.Process, granted: asyncio.Future[str]) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode().rstrip("\n")
            if line.startswith("Subscribed (mid:"):
                # The program says it again when it is told to end.
                if not granted.done():
                    granted.set_result(line)
            elif _SEPARATOR in line:
                self._deliver(_parse(line))
        if not granted.done():
            granted.set_exception(AssertionError(f"mosquitto_sub ended: exit code {await process.wait()}"))

    def _where(self) -> list[str]:
        endpoint = self.endpoint
        words = ["-V", _VERSION_NAMES[self.options.version]]
        if endpoint.path:
            return [*words, "--unix", endpoint.path]
        words += ["-h", endpoint.host, "-p", str(endpoint.port)]
        if endpoint.cacertfile is not None:
            words += ["--cafile", str(endpoint.cacertfile)]
        if endpoint.pair is not None:
            words += ["--cert", str(endpoint.pair.certfile), "--key", str(endpoint.pair.keyfile)]
        return words


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None
    return path


def _properties(message: Message) -> list[str]:
    words: list[str] = []
    for name, value in message.user_properties:
        words += ["-D", "publish", "user-property", name, value]
    if message.response_topic is not None:
        words += ["-D", "publish", "response-topic", message.response_topic]
    if message.correlation_data is not None:
        words += ["-D", "publish", "correlation-data", message.correlation_data.decode()]
    if message.content_type is not None:
        words += ["-D", "publish", "content-type", message.content_type]
    if message.topic_alias is not None:
        words += ["-D", "publish", "topic-alias", str(message.topic_alias)]
    return words


def _parse(line: str) -> Message:
    topic, qos, retain, payload, users, response, correlation, content = line.split(_SEPARATOR)
    pairs = tuple((name, value) for name, _, value in (pair.partition(":") for pair in users.split()))
    return Message(
        topic,
        bytes.fromhex(payload),
        int(qos),
        retain == "1",
        pairs,
        response or None,
        correlation.encode() or None,
        content or None,
    )
