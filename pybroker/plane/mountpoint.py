"""The prefix that a listener's template gives a client."""

from pybroker.plane.attributes import can_be_mountpoint, is_text
from pybroker.ports import Applicant
from pybroker.types import Mountpoint
from pybroker.variform.template import Template, TemplateValues

_NAMESPACE = "client_attrs.tns"


def render_mountpoint(template: Template, applicant: Applicant, keeps_placeholders: bool) -> Mountpoint | None:
    """Return the prefix; `None` if it cannot be used: it would reach topics of others, or a value is missing.

    Args:
        template: of the listener.
        applicant: with its final client id and attributes.
        keeps_placeholders: a placeholder without value stays as it is written; all clients without it share a prefix.
    """
    if _NAMESPACE in template.names and applicant.namespace is not None and not can_be_mountpoint(applicant.namespace):
        return None
    values = TemplateValues(
        {
            "clientid": applicant.client_id,
            "username": applicant.username,
            "peerhost": applicant.host,
            "zone": applicant.zone,
        },
        applicant.attributes or {},
    )
    if keeps_placeholders:
        rendered = template.render(values)
        is_own = rendered.startswith("${")
    else:
        if template.unknown:
            return None
        found = template.render_all(values)
        if not isinstance(found, str):
            return None
        rendered, is_own = found, False
    if (rendered.startswith("$") and not is_own) or "+" in rendered or "#" in rendered or not is_text(rendered):
        return None
    return Mountpoint(rendered)
