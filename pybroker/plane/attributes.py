"""Client attributes: which values may be one, and what the attribute `tns` means."""

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


def merge_attributes(applicant: Applicant, given: Mapping[str, str]) -> None:
    """Put attributes over those that an applicant has; `tns` sets the namespace.

    An empty value changes nothing. One with control characters, or that is not UTF-8, is left out with a warning.
    """
    for name, value in given.items():
        if not value:
            continue
        if _FORBIDDEN.search(value) is not None:
            logger.warning("client_attribute_dropped", clientid=applicant.client_id, attribute=name)
            continue
        if applicant.attributes is None:
            applicant.attributes = {}
        applicant.attributes[name] = value
        if name == NAMESPACE_ATTRIBUTE:
            applicant.namespace = Namespace(value)
