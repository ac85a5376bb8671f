"""What holds beside the rules: the mode, what a denied client gets, the caches, and how filters are read.

Every setting is a key of the configuration below `authorization`; a change goes through `Configs` like any other and
is in force with the answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from pybroker.config.sections.access import AuthorizationSettings
from pybroker.control.authorization.lists import AccessRule, Principal, RuleLists
from pybroker.control.clients import check_filter
from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import Refused

Mode = Literal["blacklist", "whitelist"]

SETTINGS = ("no_match", "deny_action", "cache", "include_mountpoint", "ignore_backend_failures")
EXTRA = ("subscribe_match", "on_revoke", "sys_topics")
_CACHE = ("enable", "max_size", "ttl", "excludes")
_NODE_CACHE = ("enable", "cache_ttl", "cleanup_interval", "stat_update_interval", "max_count", "max_memory")
_NO_MATCH: Mapping[Mode, Literal["allow", "deny"]] = {"blacklist": "allow", "whitelist": "deny"}


class ModeState(msgspec.Struct, frozen=True, kw_only=True):
    """The mode, and what makes it mean less than it says."""

    mode: Mode
    no_match: Literal["allow", "deny"]
    warnings: list[str]


class AccessSettings:
    """Reader and changer of the settings.

    Args:
        configs: changes them.
        configuration: in effect.
        plane: knows what a filter is.
        lists: the rules that warnings look at.
    """

    def __init__(self, configs: Configs, configuration: Configuration, plane: Plane, lists: RuleLists) -> None:
        self._configs = configs
        self._plane = plane
        self._configuration = configuration
        self._lists = lists

    @property
    def current(self) -> AuthorizationSettings:
        """What is in effect."""
        return self._configuration.current.authorization

    def show(self) -> dict[str, Any]:
        """Return what EMQX calls the settings, values as a file would have them."""
        return self._shown(SETTINGS)

    async def replace(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Put settings into force; what is not given goes back to its default.

        Raises:
            ConfigError: a value is wrong; nothing has changed.
            Refused: `BAD_REQUEST`: `cache.excludes` has what is no filter.
        """
        whole = _whole(values, SETTINGS, "")
        cache = whole["cache"] if isinstance(whole["cache"], Mapping) else {}
        for filter in cache.get("excludes") or ():
            check_filter(self._plane, filter, "BAD_REQUEST")
        await self._update({**whole, "cache": _whole(cache, _CACHE, "cache.")})
        return self.show()

    def show_extra(self) -> dict[str, Any]:
        """Return the settings that EMQX does not have."""
        return self._shown(EXTRA)

    async def replace_extra(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Put the settings that EMQX does not have into force; what is not given goes back to its default.

        Raises:
            ConfigError: a value is wrong; nothing has changed.
        """
        await self._update(_whole(values, EXTRA, ""))
        return self.show_extra()

    def show_node_cache(self) -> dict[str, Any]:
        """Return the settings of the cache of remote answers."""
        shown: dict[str, Any] = self._configs.show("authorization")["node_cache"]
        return shown

    async def replace_node_cache(self, values: Mapping[str, Any]) -> None:
        """Put the settings of the cache of remote answers into force; what is not given goes back to its default.

        Raises:
            ConfigError: a value is wrong; nothing has changed.
        """
        await self._update({"node_cache": _whole(values, _NODE_CACHE, "node_cache.")})

    @property
    def mode(self) -> Mode:
        """What is in force where no rule decides."""
        return "blacklist" if self.current.no_match == "allow" else "whitelist"

    def show_mode(self) -> ModeState:
        """Return the mode with its warnings."""
        mode = self.mode
        return ModeState(mode=mode, no_match=self.current.no_match, warnings=list(self._warnings(mode)))

    async def switch(self, mode: Mode) -> ModeState:
        """Change the mode and nothing else.

        Raises:
            StoreError: it could not be stored; nothing has changed.
        """
        await self._update({"no_match": _NO_MATCH[mode]})
        return self.show_mode()

    async def _update(self, values: Mapping[str, Any]) -> None:
        await self._configs.update({"authorization": dict(values)})

    def _shown(self, names: Sequence[str]) -> dict[str, Any]:
        shown = self._configs.show("authorization")
        return {name: shown[name] for name in names}

    def _warnings(self, mode: Mode) -> Iterator[str]:
        """Yield what an operator may not expect of the mode."""
        enabled = [source.type for source in self.current.sources if source.enable]
        others = [name for name in enabled if name != "built_in_database"]
        if others:
            yield f"the mode decides only what these sources leave open: {', '.join(others)}"
        if "built_in_database" not in enabled:
            if mode == "whitelist" and not others:
                yield "no source is enabled: everything is denied"
            return
        rules = self._lists.rules_of(Principal(None, "all", "")) or ()
        final = next((rule for rule in rules if decides_everything(rule)), None)
        if final is not None:
            yield f"a rule of all users decides every topic but those with $ in front: {final.permission} #"
        if mode == "whitelist" and not others and not self._lists.allows_anything:
            yield "no rule allows anything: everything is denied"


def decides_everything(rule: AccessRule) -> bool:
    """Return whether a rule matches whatever clients ask for, topics with `$` in front apart."""
    bare = AccessRule(topic="#", permission=rule.permission, action="all")
    return msgspec.structs.replace(rule, created_ms=0, updated_ms=0) == bare


def _whole(values: Mapping[str, Any], names: Sequence[str], path: str) -> dict[str, Any]:
    """Return a value for each name; `None`, which stands for the default, where there is none.

    Raises:
        Refused: `BAD_REQUEST`: a name is not known.
    """
    unknown = next((name for name in values if name not in names), None)
    if unknown is not None:
        raise Refused("BAD_REQUEST", f"unknown field: {path + unknown!r}, known: {', '.join(names)}")
    return {name: values.get(name) for name in names}
