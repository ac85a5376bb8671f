"""A client as access control sees it, made of what the connect pipeline has found out."""

from pybroker._core import AccessClient, AccessSubject
from pybroker.ports import Applicant


def subject_of(applicant: Applicant) -> AccessSubject:
    """Return who an admitted applicant is to access control, for the life of its connection."""
    host, port = applicant.connect.peer
    client = AccessClient(
        applicant.client_id,
        applicant.username,
        peer_ip=host or None,
        peer_port=port,
        namespace=applicant.namespace,
        zone=applicant.zone,
        listener=applicant.listener.id,
        cert_common_name=applicant.connect.certificate_common_name,
        attributes=list(applicant.attributes.items()) if applicant.attributes else (),
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
