"""What of a client certificate may stand for a user name or client id, as `mqtt.peer_cert_as_*` name it."""

import base64
import hashlib

from pybroker._core import Connect
from pybroker.config.sections.mqtt import CertificateField


def certificate_text(connect: Connect, field: CertificateField) -> str:
    """Return one field of the client certificate of a connection; empty if there is no certificate or no such field.

    Args:
        connect: CONNECT with what TLS, or the PROXY header, told of the peer.
        field: `cn` common name, `dn` subject, `md5` hexadecimal digest of the DER form, `pem` the DER form in base64,
            without lines and frame; `crt` likewise, because a name is text.
    """
    if field == "cn":
        return connect.certificate_common_name or ""
    if field == "dn":
        return connect.certificate_subject or ""
    der = connect.certificate_der
    if not der:
        return ""
    if field == "md5":
        return hashlib.md5(der, usedforsecurity=False).hexdigest()
    return base64.b64encode(der).decode("ascii")
