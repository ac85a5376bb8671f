"""A client as access control sees it, made of what the connect pipeline has found out."""

from pybroker._core import AccessClient, AccessSubject
from pybroker.ports import Applicant


def subject_of(applicant: Applicant) -> AccessSubject:
    """Return who an admitted applicant is to access control, for the life of its connection.

    The certificate itself is not kept: a kilobyte for each client.
    """
    connect = applicant.connect
    host, port = connect.peer
    told = {"cert_subject": connect.certificate_subject, "peersni": connect.server_name}
    if connect.websocket_path is not None:
        told["ws_cookie"] = connect.websocket_cookie or ""
    client = AccessClient(
        applicant.client_id,
        applicant.username,
        peer_ip=host or None,
        peer_port=port,
        local_port=applicant.listener.port,
        namespace=applicant.namespace,
        zone=applicant.zone,
        listener=applicant.listener.id,
        cert_common_name=connect.certificate_common_name,
        attributes=list(applicant.attributes.items()) if applicant.attributes else (),
        handshake=[(name, value) for name, value in told.items() if value is not None],
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
