"""Settings of access control, its mode and its caches."""

from functools import partial

import msgspec

from admin.schemas.authorization_settings import (
    ExtraSettings,
    ExtraSettingsBody,
    ModeBody,
    NodeCache,
    NodeCacheBody,
    NodeCacheMetrics,
    NodeCacheStatus,
    Settings,
    SettingsBody,
    given,
)
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.control.authorization.settings import ModeState


async def show_settings(call: Call[NoBody, NoQuery]) -> Settings:
    """Return the settings."""
    return msgspec.convert(call.control.authorization.settings.show(), Settings)


async def replace_settings(call: Call[SettingsBody, NoQuery]) -> Settings:
    """Put settings into force; what is not sent goes back to its default."""
    before = call.control.authorization.settings.show()
    after = await call.control.authorization.settings.replace(given(call.body))
    call.note_change(before, after)
    return msgspec.convert(after, Settings)


async def show_extra(call: Call[NoBody, NoQuery]) -> ExtraSettings:
    """Return the settings that EMQX does not have."""
    return msgspec.convert(call.control.authorization.settings.show_extra(), ExtraSettings)


async def replace_extra(call: Call[ExtraSettingsBody, NoQuery]) -> ExtraSettings:
    """Put the settings that EMQX does not have into force; what is not sent goes back to its default."""
    before = call.control.authorization.settings.show_extra()
    after = await call.control.authorization.settings.replace_extra(given(call.body))
    call.note_change(before, after)
    return msgspec.convert(after, ExtraSettings)


async def show_mode(call: Call[NoBody, NoQuery]) -> ModeState:
    """Return the mode, and what an operator may not expect of it."""
    return call.control.authorization.settings.show_mode()


async def switch_mode(call: Call[ModeBody, NoQuery]) -> ModeState:
    """Switch between blacklist and whitelist; nothing else changes."""
    before = call.control.authorization.settings.mode
    state = await call.control.authorization.settings.switch(call.body.mode)
    call.note_change(before, state.mode)
    return state


async def clear_cache(call: Call[NoBody, NoQuery]) -> None:
    """Forget the decisions that are kept for any client."""
    call.control.authorization.sources.refresh()


async def show_node_cache(call: Call[NoBody, NoQuery]) -> NodeCache:
    """Return the settings of the cache of remote answers."""
    return msgspec.convert(call.control.authorization.settings.show_node_cache(), NodeCache)


async def replace_node_cache(call: Call[NodeCacheBody, NoQuery]) -> None:
    """Put the settings of the cache of remote answers into force; what is not sent goes back to its default."""
    before = call.control.authorization.settings.show_node_cache()
    await call.control.authorization.settings.replace_node_cache(given(call.body))
    call.note_change(before, call.control.authorization.settings.show_node_cache())


async def show_node_cache_status(call: Call[NoBody, NoQuery]) -> NodeCacheStatus:
    """Return what the cache of remote answers has done."""
    metrics = call.control.authorization.answers.show()
    return NodeCacheStatus(
        metrics=metrics, node_metrics=[NodeCacheMetrics(node=call.control.about.node, metrics=metrics)]
    )


async def reset_node_cache(call: Call[NoBody, NoQuery]) -> None:
    """Forget every remote answer and begin to count anew."""
    call.control.authorization.answers.reset()


_row = partial(Row, tag="Access control", scope="access_control", query=NoQuery)
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never", errors=())
_write = partial(_row, access=Access.ADMINISTRATOR, audit="always", errors=("BAD_REQUEST", "UPDATE_FAILED"))

ROWS = (
    _get(
        path="/authorization/settings",
        handler=show_settings,
        summary="Show the settings of access control",
        reply=Settings,
    ),
    _write(
        method="PUT",
        path="/authorization/settings",
        handler=replace_settings,
        summary="Replace the settings of access control",
        request=SettingsBody,
        reply=Settings,
        status=200,
    ),
    _get(
        path="/authorization/extra_settings",
        handler=show_extra,
        summary="Show the settings of access control that EMQX does not have",
        reply=ExtraSettings,
    ),
    _write(
        method="PUT",
        path="/authorization/extra_settings",
        handler=replace_extra,
        summary="Replace the settings of access control that EMQX does not have",
        request=ExtraSettingsBody,
        reply=ExtraSettings,
        status=200,
    ),
    _get(
        path="/authorization/mode",
        handler=show_mode,
        summary="Show whether the rules are a blacklist or a whitelist",
        reply=ModeState,
    ),
    _write(
        method="PUT",
        path="/authorization/mode",
        handler=switch_mode,
        summary="Switch between blacklist and whitelist",
        request=ModeBody,
        reply=ModeState,
        status=200,
    ),
    _write(
        method="DELETE",
        path="/authorization/cache",
        handler=clear_cache,
        summary="Forget every kept decision",
        request=NoBody,
        reply=None,
        status=204,
    ),
    _get(
        path="/authorization/node_cache",
        handler=show_node_cache,
        summary="Show the settings of the cache of remote answers",
        reply=NodeCache,
    ),
    _write(
        method="PUT",
        path="/authorization/node_cache",
        handler=replace_node_cache,
        summary="Replace the settings of the cache of remote answers",
        request=NodeCacheBody,
        reply=None,
        status=204,
    ),
    _get(
        path="/authorization/node_cache/status",
        handler=show_node_cache_status,
        summary="Show what the cache of remote answers has done",
        reply=NodeCacheStatus,
    ),
    _write(
        method="POST",
        path="/authorization/node_cache/reset",
        handler=reset_node_cache,
        summary="Forget every remote answer",
        request=NoBody,
        reply=None,
        status=204,
        errors=(),
    ),
)
