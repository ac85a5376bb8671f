"""The parts of the running broker that operators look at and act on, as `app` has built them."""

from collections.abc import Callable

import msgspec

from pybroker._core import Engine
from pybroker.auth.authentication import Authentication
from pybroker.auth.authorizer import Authorizer
from pybroker.auth.banned import BanList
from pybroker.auth.flapping import FlappingDetector
from pybroker.auth.revocation import Revoker
from pybroker.events import EventBus
from pybroker.listeners.service import ListenerService
from pybroker.metrics.counters import Counters
from pybroker.metrics.sys_topics import SysTopicsService
from pybroker.namespaces.resolve import Namespaces
from pybroker.plane.connect import Connector
from pybroker.plane.publish import Publisher
from pybroker.plane.registry import Registry
from pybroker.plane.session import Sessions
from pybroker.plane.subscribe import ExclusiveLocks, Subscriber
from pybroker.retained.service import RetainedService


class Plane(msgspec.Struct, frozen=True, kw_only=True):
    """What moves messages, and what decides about it.

    Args:
        set_log_level: takes `console` or `file` and a level; `KeyError` if that target is not open.
    """

    engine: Engine
    events: EventBus
    registry: Registry
    sessions: Sessions
    connector: Connector
    subscriber: Subscriber
    publisher: Publisher
    locks: ExclusiveLocks
    authorizer: Authorizer
    revoker: Revoker
    authentication: Authentication
    bans: BanList
    flapping: FlappingDetector
    namespaces: Namespaces
    listeners: ListenerService
    counters: Counters
    sys_topics: SysTopicsService
    retained: RetainedService
    set_log_level: Callable[[str, str], None]
