"""How configured sources are put to use: files are read in a thread, services get their connections and their cache."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, cast

from pybroker.auth.answer_cache import AnswerCache
from pybroker.auth.sources.file import RuleFile, compile_file, read_file
from pybroker.auth.sources.source import Answer, OpenSource
from pybroker.auth.sources.web import ACTION, WebSource
from pybroker.clock import Clock
from pybroker.config.sections.access import FileSource, HttpSource, NodeCache, Source
from pybroker.errors import ConfigError


class Openers:
    """Opener of every kind of source that is not in the broker's database.

    Args:
        clock: tells how old an answer is.
        node_cache: of remote answers; `answers.settings` may be replaced while running.
        profile: what a placeholder without a usable value does.
        template_allow: characters that values of placeholders may hold; may be changed, for what is opened then.
    """

    def __init__(
        self,
        clock: Clock,
        node_cache: NodeCache,
        profile: Literal["legacy", "hardened"] = "legacy",
        template_allow: Sequence[Literal["plus", "hash", "slash"]] = (),
    ) -> None:
        self.answers: AnswerCache[Answer] = AnswerCache(clock, node_cache)
        self._profile: Literal["legacy", "hardened"] = profile
        self.template_allow = template_allow

    @property
    def by_type(self) -> Mapping[str, Callable[[Source], Awaitable[OpenSource]]]:
        """The openers by type of source; they raise `ConfigError`."""
        return {"file": self.open_file, "http": self.open_http}

    async def open_file(self, source: Source) -> OpenSource:
        """Read an ACL file.

        Raises:
            ConfigError: it cannot be read, or is not valid.
        """
        file = cast("FileSource", source)  # as its type says
        text = await asyncio.to_thread(read_file, file.path)
        rules = await asyncio.to_thread(compile_file, text, self._profile, self.template_allow)
        return RuleFile(file, rules)

    async def open_http(self, source: Source) -> OpenSource:
        """Prepare the connections to a service; nothing is sent.

        Raises:
            ConfigError: a key of it cannot be.
        """
        # Takes a tenth of a second to import, and few brokers need it.
        from pybroker.auth.web_service import WebService

        web = cast("HttpSource", source)  # as its type says
        try:
            service = await asyncio.to_thread(WebService, web, ACTION)
        except ValueError as error:
            raise ConfigError("authorization.sources", f"http: {error}") from None
        return WebSource(web, service, self.answers)
