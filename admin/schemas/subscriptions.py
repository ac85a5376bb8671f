"""Subscriptions and topics."""

from typing import Annotated, Self

import msgspec

from admin.schemas.page import PageQuery
from pybroker.control.subscriptions import Subscription, SubscriptionFilter


class SubscriptionQuery(PageQuery, frozen=True, kw_only=True):
    """Which subscriptions; all that are given must fit."""

    node: str | None = None
    clientid: str | None = None
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] | None = None
    topic: str | None = None
    match_topic: str | None = None
    share_group: str | None = None
    durable: bool | None = None

    def wanted(self) -> SubscriptionFilter:
        """Return the filter."""
        return SubscriptionFilter(
            client_id=self.clientid,
            qos=self.qos,
            topic=self.topic,
            match_topic=self.match_topic,
            share_group=self.share_group,
        )


class SubscriptionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as shown; `client_topic` is what a client with a mountpoint calls `topic`."""

    clientid: str
    node: str
    topic: str
    client_topic: str | msgspec.UnsetType = msgspec.UNSET
    qos: int
    nl: int
    rap: int
    rh: int
    durable: bool

    @classmethod
    def of(cls, subscription: Subscription, node: str) -> Self:
        """Return a subscription as shown."""
        options = subscription.options
        return cls(
            clientid=subscription.client_id,
            node=node,
            topic=subscription.filter,
            client_topic=subscription.client_filter if subscription.mountpoint else msgspec.UNSET,
            qos=options & 3,
            nl=options >> 2 & 1,
            rap=options >> 3 & 1,
            rh=options >> 4 & 3,
            durable=False,
        )


class TopicQuery(PageQuery, frozen=True, kw_only=True):
    """Which topics; all that are given must fit."""

    topic: str | None = None
    node: str | None = None


class TopicRow(msgspec.Struct, frozen=True, kw_only=True):
    """A topic that a node routes."""

    topic: str
    node: str
