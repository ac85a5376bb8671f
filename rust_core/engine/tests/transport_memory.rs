//! What an idle TLS or WebSocket connection keeps on the heap. One test: it counts every allocation of the process.

mod transport_support;

use std::alloc::System;
use std::sync::Arc;

use pybroker_engine::transport::tls::{TlsAcceptor, TlsSession, Verify};
use pybroker_engine::transport::websocket::{WsSession, WsSettings};
use rustls::version::{TLS12, TLS13};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use transport_support::tls::{Authority, ClientOptions, Directory, Pair, Subject, client_config, settings};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated and not freed since `region` began.
fn live_bytes(region: &Region<'_, System>) -> isize {
    let change = region.change();
    isize::try_from(change.bytes_allocated).unwrap() - isize::try_from(change.bytes_deallocated).unwrap()
}

/// Heap bytes of one established session that has received and sent 40,000 bytes: what it frees when it goes.
fn session_bytes(acceptor: &TlsAcceptor, client: &Arc<rustls::ClientConfig>) -> isize {
    let mut pair = Pair::new(acceptor, client);
    pair.pump();
    pair.say(&vec![1; 40_000]);
    pair.answer(&vec![2; 40_000]);
    assert_eq!((pair.received.len(), pair.answered.len()), (40_000, 40_000));
    let Pair { session, .. } = pair;
    let region = Region::new(HEAP);
    drop(session);
    -live_bytes(&region)
}

#[test]
fn idle_connections_keep_little() {
    let directory = Directory::new();
    let authority = Authority::new("test authority");
    let mut settings = settings(&directory, &authority.server(7));
    settings.cacertfile = Some(directory.store("ca.pem", &authority.pem()));
    let identity = authority.issue(Subject::default());
    for (verify, identity, limit) in [(Verify::None, None, 4096), (Verify::Peer, Some(&identity), 6144)] {
        settings.verify = verify;
        let acceptor = TlsAcceptor::load(&settings).unwrap();
        for (name, versions) in [("TLS 1.2", [&TLS12]), ("TLS 1.3", [&TLS13])] {
            let client = client_config(&ClientOptions { trusted: &authority.pem(), identity, versions: &versions });
            session_bytes(&acceptor, &client);
            let bytes = session_bytes(&acceptor, &client) + isize::try_from(size_of::<TlsSession>()).unwrap();
            println!("{name}, {verify:?}: {bytes} bytes per session");
            assert!(bytes <= limit, "{name}, {verify:?}: {bytes} bytes");
        }
    }

    let websocket = Arc::new(WsSettings::default());
    let region = Region::new(HEAP);
    let mut session = WsSession::new(websocket);
    let request = b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    for piece in request.chunks(50) {
        session.receive(piece, &mut Vec::new(), &mut Vec::new()).unwrap();
    }
    session.receive(b"\x89\x85\0\0\0\0hello", &mut Vec::new(), &mut Vec::new()).unwrap();
    drop(session.take_request());
    assert_eq!(live_bytes(&region), 0);
}
