"""What of a client certificate may stand for a user name or client id, as `mqtt.peer_cert_as_*` name it."""

import base64
import hashlib
import textwrap

from pybroker._core import Connect
from pybroker.config.sections.mqtt import CertificateField


def certificate_text(connect: Connect, field: CertificateField) -> str:
    """Return one field of the client certificate of a connection; empty if there is no certificate or no such field.

    Args:
        connect: CONNECT with what TLS, or the PROXY header, told of the peer.
        field: `cn` common name, `dn` subject, `pem` the certificate as PEM, `md5` hexadecimal digest of its DER form,
            `crt` the DER form; in base64, because a client id is text.
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
    encoded = base64.b64encode(der).decode("ascii")
    if field == "crt":
        return encoded
    lines = "\n".join(textwrap.wrap(encoded, 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
