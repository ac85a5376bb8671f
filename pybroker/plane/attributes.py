"""Client attributes: which values may be one, what the attribute `tns` means, and which names can be a mountpoint."""

import re
from collections.abc import Mapping

import structlog

from pybroker.ports import Applicant
from pybroker.types import Namespace

logger = structlog.get_logger(__name__)

NAMESPACE_ATTRIBUTE = "tns"
"""Name of the attribute whose value is the client's namespace."""

# Control characters, and what a text cannot hold in UTF-8.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


_HOSTILE = re.compile("[+#/\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_text(value: str) -> bool:
    """Return whether a text holds no control character and can be written in UTF-8."""
    return _FORBIDDEN.search(value) is None


def can_be_mountpoint(namespace: str) -> bool:
    """Return whether a namespace can stand before the topics of its clients without reaching those of others.

    `+` and `#` would match other namespaces, `a/b` lies inside of `a`, and `$` begins the broker's own topics.
    """
    return bool(namespace) and not namespace.startswith("$") and _HOSTILE.search(namespace) is None


def merge_attributes(applicant: Applicant, given: Mapping[str, str]) -> None:
    """Put attributes over those that an applicant has; `tns` sets the namespace.

    An empty value changes nothing. One with control characters, or that is not UTF-8, is left out with a warning.
    """
    for name, value in given.items():
        if not value:
            continue
        if not is_text(value):
            logger.warning("client_attribute_dropped", clientid=applicant.client_id, attribute=name)
            continue
        if applicant.attributes is None:
            applicant.attributes = {}
        applicant.attributes[name] = value
        if name == NAMESPACE_ATTRIBUTE:
            applicant.namespace = Namespace(value)
