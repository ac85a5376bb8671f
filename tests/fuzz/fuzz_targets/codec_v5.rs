//! Streams of a 5.0 peer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pybroker_core::codec::Version;

fuzz_target!(|data: &[u8]| pybroker_fuzz::check_stream([Version::V5, Version::V5], data));
