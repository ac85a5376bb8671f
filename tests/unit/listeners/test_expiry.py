"""The end of a certificate, read from its file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from pybroker.listeners.expiry import ends_at_s


@pytest.mark.parametrize("year", [2030, 2049, 2050, 2099])
def test_end_is_the_one_in_the_certificate(tmp_path: Path, year: int) -> None:
    end = datetime(year, 5, 6, 7, 8, 9, tzinfo=UTC)
    file = tmp_path / "cert.pem"
    certificate = trustme.CA().issue_cert("localhost", not_after=end)
    certificate.cert_chain_pems[0].write_to_path(file)
    assert x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc == end
    assert ends_at_s(file) == int(end.timestamp())


def test_file_that_cannot_be_read_has_no_end(tmp_path: Path) -> None:
    assert ends_at_s(tmp_path / "absent") == 0


@pytest.mark.parametrize("size", [0, 1, 5, 40, 120])
def test_damaged_certificate_has_no_end(tmp_path: Path, size: int) -> None:
    file = tmp_path / "cert.pem"
    whole = trustme.CA().cert_pem.bytes()
    file.write_bytes(whole[: 28 + size])
    assert ends_at_s(file) == 0
    file.write_text("-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n")
    assert ends_at_s(file) == 0
