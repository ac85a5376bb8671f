"""The sockets and the TLS of the HTTP listeners."""

import socket
import ssl
from contextlib import closing
from pathlib import Path

import pytest
from starlette.applications import Starlette

from admin.server import HttpServer
from pybroker.config.schema import Bind, HttpListener, HttpsListener, SslOptions
from tests.support.certificates import Authority, KeyPair


@pytest.mark.parametrize(("is_hardened", "host"), [(False, "[::]"), (True, "[::1]")])
def test_bare_port_with_inet6_listens_on_ipv6(is_hardened: bool, host: str) -> None:
    settings = HttpListener(bind=Bind.parse("0"), inet6=True)
    with closing(HttpServer(Starlette(), settings, is_hardened=is_hardened)) as server:
        assert server.bind().startswith(f"{host}:")


@pytest.mark.parametrize("is_only", [False, True])
def test_ipv4_is_accepted_on_ipv6_unless_it_is_not_wanted(is_only: bool) -> None:
    settings = HttpListener(bind=Bind.parse("[::]:0"), ipv6_v6only=is_only)
    with closing(HttpServer(Starlette(), settings)) as server:
        port = int(server.bind().rpartition(":")[2])
        with socket.socket() as client:
            assert (client.connect_ex(("127.0.0.1", port)) == 0) is not is_only


def _is_let_in(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Shake hands in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(back, there, server_hostname="localhost")
    answers = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for end in (asks, answers):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_revoked_certificate_is_refused_by_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, good, revoked = authority.server(), authority.client("good"), authority.client("revoked")
    crlfile = tmp_path / "crl.pem"
    crlfile.write_bytes(authority.revocation_list(revoked))
    options = SslOptions(
        certfile=str(own.certfile),
        keyfile=str(own.keyfile),
        cacertfile=str(authority.cacertfile),
        crlfile=str(crlfile),
        verify="verify_peer",
        fail_if_no_peer_cert=True,
    )

    with closing(HttpServer(Starlette(), HttpsListener(bind=Bind("127.0.0.1", 0), ssl_options=options))) as server:
        server.bind()
        assert str(crlfile) in server.certificate_files
        context = server._config.ssl
        assert context is not None

        def is_let_in(pair: KeyPair) -> bool:
            return _is_let_in(context, authority.client_context(pair))

        assert is_let_in(good)
        assert not is_let_in(revoked)
