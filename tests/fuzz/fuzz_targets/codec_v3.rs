//! Streams of a 3.1 or 3.1.1 peer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pybroker_core::codec::Version;

fuzz_target!(|data: &[u8]| pybroker_fuzz::check_stream([Version::V31, Version::V311], data));
