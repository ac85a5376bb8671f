"""The sources of rules: which there are, in which order, and what each has done.

They are `authorization.sources` of the configuration. What a source of type `file` says travels as text and is kept in
a file of ours, under a name made from it: a text that cannot be read never touches the one in force.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from pybroker.auth.sources.file import compile_file
from pybroker.config.render import render
from pybroker.config.sections.access import FileSource, Source
from pybroker.control.authorization.rates import Rates
from pybroker.control.authorization.rules import BUILT_IN, RuleBook
from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import BrokerError, Refused

TYPES: tuple[str, ...] = get_args(get_type_hints(Source)["type"])
"""Every type that the configuration knows."""

SERVED = (BUILT_IN, "file", "http")
"""Types that this broker can ask."""

FOLDER = "authz"
"""Folder below the data folder that keeps the texts of `file` sources."""

T = TypeVar("T")


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has done.

    Args:
        status: `connected`, `connecting` or `disconnected`.
        metrics: consultations and what came of them, with rates.
        resource_metrics: requests of a remote source; empty for others.
    """

    status: str
    metrics: dict[str, int | float]
    resource_metrics: dict[str, int | float]


class Sources:
    """Reader and changer of the sources.

    Args:
        configs: changes them.
        configuration: in effect.
        plane: asks them.
        book: the built-in rules, which go with their source.
        rates: of every source.
    """

    def __init__(
        self, configs: Configs, configuration: Configuration, plane: Plane, book: RuleBook, rates: Rates
    ) -> None:
        self._configs = configs
        self._configuration = configuration
        self._authorizer = plane.authorizer
        self._book = book
        self._rates = rates
        self._lock = asyncio.Lock()

    @property
    def configured(self) -> tuple[Source, ...]:
        """The sources in their order, disabled ones too."""
        return self._configuration.current.authorization.sources

    async def all(self) -> list[dict[str, Any]]:
        """Return every source as it is shown.

        Raises:
            Refused: `INTERNAL_ERROR`: a file cannot be read.
        """
        return [await self._shown(source) for source in self.configured]

    async def show(self, name: str) -> dict[str, Any]:
        """Return a source as it is shown, secrets masked.

        Raises:
            Refused: `BAD_REQUEST`: there is no such type; `NOT_FOUND`: it is not configured; `INTERNAL_ERROR`: its
                file cannot be read.
        """
        return await self._shown(self._find(name))

    async def create(self, values: Mapping[str, Any]) -> None:
        """Put a new source in front of the others.

        Raises:
            Refused: `BAD_REQUEST`: the type is missing, unknown or there already.
            ConfigError: a value is wrong.
        """
        name = values.get("type")
        if not isinstance(name, str):
            raise Refused("BAD_REQUEST", "type must be given")
        _check_type(name)
        if name not in SERVED:
            raise Refused("BAD_REQUEST", f"this broker has no source of type: {name!r}, it has: {', '.join(SERVED)}")

        async def work() -> None:
            if any(source.type == name for source in self.configured):
                raise Refused("BAD_REQUEST", f"source is there already: {name!r}")
            if name == BUILT_IN:
                # What a removal that was cut short has left.
                await self._book.purge_all()
            await self._store(values, lambda one: [one, *self._plain()])
            self._reset(name)

        await self._run_alone(work)

    async def replace(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change the configuration of a source and return the one before, secrets masked; rules and counters stay.

        Raises:
            Refused: `BAD_REQUEST`: the type differs or is unknown; `NOT_FOUND`: it is not configured.
            ConfigError: a value is wrong.
        """
        _check_type(name)
        if values.get("type", name) != name:
            raise Refused("BAD_REQUEST", f"type differs from the path: {values['type']!r}")

        async def work() -> dict[str, Any]:
            before = render(self._find(name), masks_secrets=True)
            whole = {"type": name, **values}
            await self._store(whole, lambda one: [one if old["type"] == name else old for old in self._plain()])
            return before

        return await self._run_alone(work)

    async def remove(self, name: str) -> None:
        """Take a source away; the built-in one takes every rule of every namespace along.

        Raises:
            Refused: `BAD_REQUEST`: there is no such type; `NOT_FOUND`: it is not configured.
        """

        async def work() -> None:
            gone = self._find(name)
            await self._put([one for one in self._plain() if one["type"] != name])
            if name == BUILT_IN:
                await self._book.purge_all()
            await self._forget_file(gone)
            self._reset(name)

        await self._run_alone(work)

    async def move(self, name: str, position: str) -> None:
        """Move a source.

        Args:
            position: `front`, `rear`, `before:TYPE` or `after:TYPE`.

        Raises:
            Refused: `NOT_FOUND`: it is not configured; `BAD_REQUEST`: the position is none.
        """

        async def work() -> None:
            self._find(name)
            types = [source.type for source in self.configured if source.type != name]
            where, _, other = position.partition(":")
            if position in ("front", "rear"):
                place = 0 if position == "front" else len(types)
            elif where in ("before", "after") and other in types:
                place = types.index(other) + (where == "after")
            else:
                raise Refused("BAD_REQUEST", f"position is not known: {position!r}")
            await self._arrange([*types[:place], name, *types[place:]])

        await self._run_alone(work)

    async def order(self, names: Sequence[str]) -> None:
        """Put the sources in another order.

        Raises:
            Refused: `BAD_REQUEST`: not every source is named exactly once.
        """

        async def work() -> None:
            types = [source.type for source in self.configured]
            wrong: dict[str, list[str]] = {
                "missing": [name for name in types if name not in names],
                "unknown": [name for name in dict.fromkeys(names) if name not in types],
                "repeated": [name for name in dict.fromkeys(names) if names.count(name) > 1],
            }
            if any(wrong.values()):
                found = "; ".join(f"{what}: {', '.join(which)}" for what, which in wrong.items() if which)
                raise Refused("BAD_REQUEST", f"every source must be named once; {found}")
            await self._arrange(names)

        await self._run_alone(work)

    def state(self, name: str) -> SourceState:
        """Return what a source has done.

        Raises:
            Refused: `BAD_REQUEST`: there is no such type; `NOT_FOUND`: it is not configured.
        """
        self._find(name)
        counts = self._authorizer.metrics(name)
        rates = self._rates.of(name, counts.total)
        requests: dict[str, int | float] = {}
        if name not in (BUILT_IN, "file"):
            answered = counts.total - counts.ignore
            requests = {"matched": counts.total, "success": answered, "failed": counts.ignore, **rates}
        return SourceState(
            status=self._authorizer.status(name), metrics={**counts._asdict(), **rates}, resource_metrics=requests
        )

    def reset_metrics(self, name: str) -> None:
        """Start the counters of a source at zero.

        Raises:
            Refused: `BAD_REQUEST`: there is no such type; `NOT_FOUND`: it is not configured.
        """
        self._find(name)
        self._reset(name)

    def refresh(self) -> None:
        """Forget what is kept of decisions and answers, for every client."""
        self._authorizer.forget_decisions()

    async def read_again(self) -> int:
        """Read the file of rules again, which somebody has changed on the disk; return how many such sources there are.

        Raises:
            ConfigError: it cannot be read or is not valid; the rules that were read before hold on.
        """
        return await self._run_alone(self._authorizer.read_again)

    def _reset(self, name: str) -> None:
        self._authorizer.reset_metrics(name)
        self._rates.reset(name)

    def _find(self, name: str) -> Source:
        _check_type(name)
        for source in self.configured:
            if source.type == name:
                return source
        raise Refused("NOT_FOUND", f"source is not configured: {name!r}")

    async def _shown(self, source: Source) -> dict[str, Any]:
        values = render(source, masks_secrets=True)
        if isinstance(source, FileSource):
            del values["path"]
            values["rules"] = await asyncio.to_thread(_read, source.path) if source.path else ""
        return values

    def _plain(self) -> list[dict[str, Any]]:
        return [render(source, masks_secrets=False) for source in self.configured]

    async def _store(self, values: Mapping[str, Any], placed: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
        """Put a source into force, and its text into a file."""
        whole = dict(values)
        if whole["type"] != "file":
            await self._put(placed(whole))
            return
        before = next((source for source in self.configured if source.type == "file"), None)
        text = whole.pop("rules", None)
        if "path" in whole or not isinstance(text, str):
            raise Refused("BAD_REQUEST", "rules must be given as a text; a path is not taken")
        await asyncio.to_thread(compile_file, text, self._authorizer.profile)
        path = await asyncio.to_thread(_write, self._folder, text)
        try:
            await self._put(placed({**whole, "path": str(path)}))
        except BrokerError:
            if not isinstance(before, FileSource) or before.path != str(path):
                await asyncio.to_thread(path.unlink, missing_ok=True)
            raise
        if isinstance(before, FileSource) and before.path != str(path):
            await self._forget_file(before)

    async def _forget_file(self, source: Source) -> None:
        """Delete the text of a source if it is one of ours."""
        if isinstance(source, FileSource) and source.path and Path(source.path).parent == self._folder:
            await asyncio.to_thread(Path(source.path).unlink, missing_ok=True)

    async def _arrange(self, names: Sequence[str]) -> None:
        by_type = {one["type"]: one for one in self._plain()}
        await self._put([by_type[name] for name in names])

    async def _put(self, sources: list[dict[str, Any]]) -> None:
        await self._configs.update({"authorization": {"sources": sources}})

    @property
    def _folder(self) -> Path:
        return Path(self._configuration.current.node.data_dir).absolute() / FOLDER

    async def _run_alone(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something that no other change of sources may come between, even if its caller is cancelled."""

        async def locked() -> T:
            async with self._lock:
                return await work()

        return await asyncio.shield(asyncio.ensure_future(locked()))


def _check_type(name: str) -> None:
    if name not in TYPES:
        raise Refused("BAD_REQUEST", f"no such type of source: {name!r}, known: {', '.join(TYPES)}")


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("INTERNAL_ERROR", f"file of rules cannot be read: {error}") from None


def _write(folder: Path, text: str) -> Path:
    """Write a text under a name made from it, all or nothing, and return its path."""
    path = folder / f"acl-{hashlib.sha256(text.encode()).hexdigest()[:16]}.conf"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise Refused("INTERNAL_ERROR", f"file of rules cannot be written: {error}") from None
    return path
