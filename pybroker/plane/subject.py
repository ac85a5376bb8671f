"""A client as access control sees it, made of what the connect pipeline has found out."""

from pybroker._core import AccessClient, AccessSubject, Connect
from pybroker.ports import Applicant


def subject_of(applicant: Applicant) -> AccessSubject:
    """Return who an admitted applicant is to access control, for the life of its connection.

    The certificate itself is not kept: a kilobyte for each client.
    """
    connect, listener = applicant.connect, applicant.listener
    client = AccessClient(
        applicant.client_id,
        applicant.username,
        peer_ip=applicant.host or None,
        peer_port=applicant.port,
        local_port=listener.port,
        namespace=applicant.namespace,
        zone=applicant.zone,
        listener=listener.id,
        cert_common_name=connect.certificate_common_name,
        attributes=list(applicant.attributes.items()) if applicant.attributes else (),
        handshake=_handshake_of(connect),
        mountpoint=applicant.mountpoint,
    )
    acl = applicant.acl
    return AccessSubject(
        client,
        is_superuser=applicant.is_superuser,
        acl=None if acl is None else acl.rules,
        is_acl_final=acl is not None and acl.is_final,
        expire_at_s=applicant.expire_at_s,
    )


def _handshake_of(connect: Connect) -> list[tuple[str, str]]:
    """Return what the layers below MQTT have told, by the names that rules use; empty for plain TCP."""
    told = []
    if (subject := connect.certificate_subject) is not None:
        told.append(("cert_subject", subject))
    if (name := connect.server_name) is not None:
        told.append(("peersni", name))
    if connect.websocket_path is not None:
        told.append(("ws_cookie", connect.websocket_cookie or ""))
    return told
