//! The first bytes of a connection behind a proxy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pybroker_engine::transport::proxy::{ProxyOutcome, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    match &whole {
        Ok(ProxyOutcome::Done { consumed, .. }) => {
            assert!(*consumed <= data.len());
            assert_eq!(parse(&data[..*consumed]), whole);
        }
        Ok(ProxyOutcome::NeedMore) => assert!(data.len() < 4328),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    for end in [0, 1, 12, 16, data.len() / 2, data.len().saturating_sub(1)] {
        let Some(prefix) = data.get(..end) else {
            continue;
        };
        let part = parse(prefix);
        assert!(
            part == Ok(ProxyOutcome::NeedMore) || part == whole,
            "{end} bytes: {part:?}"
        );
    }
});
