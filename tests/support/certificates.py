"""Certificates for TLS tests: one throw-away authority, server and client certificates as PEM files."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["Authority", "KeyPair"]


@dataclass(frozen=True)
class KeyPair:
    """Paths of a certificate chain and of its private key."""

    certfile: Path
    keyfile: Path


class Authority:
    """Issues certificates below one root into `directory`."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.cacertfile = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.cacertfile)

    @property
    def private_key(self) -> bytes:
        """The authority's own key as PEM, to sign revocation lists."""
        return self._ca.private_key_pem.bytes()

    def server(self, file_name: str = "server", *names: str) -> KeyPair:
        """Issue a server certificate, for localhost and 127.0.0.1 unless names are given."""
        return self._write(self._ca.issue_cert(*(names or ("localhost", "127.0.0.1"))), file_name)

    def client(self, common_name: str, file_name: str | None = None, organization: str | None = None) -> KeyPair:
        """Issue a client certificate with this common name."""
        certificate = self._ca.issue_cert(
            f"{common_name}@client.test", common_name=common_name, organization_name=organization
        )
        return self._write(certificate, file_name or common_name)

    def revocation_list(self, revoked: KeyPair) -> bytes:
        """Return a list in PEM that revokes one certificate."""
        issuer = x509.load_pem_x509_certificate(self.cacertfile.read_bytes())
        key = serialization.load_pem_private_key(self.private_key, None)
        assert isinstance(key, EllipticCurvePrivateKey)
        serial = x509.load_pem_x509_certificate(revoked.certfile.read_bytes()).serial_number
        now = datetime.now(UTC)
        begin, end = now - timedelta(hours=1), now + timedelta(days=1)
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begin).build()
        builder = x509.CertificateRevocationListBuilder(issuer.subject, begin, end)
        builder = builder.add_revoked_certificate(entry).add_extension(x509.CRLNumber(1), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        return (
            builder.add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def client_context(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        """Return a context that trusts this authority and shows `pair`, if given."""
        context = ssl.create_default_context(cafile=str(self.cacertfile))
        if pair is not None:
            context.load_cert_chain(str(pair.certfile), str(pair.keyfile))
        return context

    def _write(self, certificate: trustme.LeafCert, file_name: str) -> KeyPair:
        pair = KeyPair(self._directory / f"{file_name}.pem", self._directory / f"{file_name}.key")
        pair.certfile.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        pair.keyfile.write_bytes(certificate.private_key_pem.bytes())
        return pair
