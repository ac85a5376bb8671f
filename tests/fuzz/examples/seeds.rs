//! Writes the seeds of every target into `corpus/`, one file each, named for what they show.

use std::fs;
use std::path::Path;

use pybroker_fuzz::{CLIENT, KNOWN, LOWER};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    role: Option<String>,
    versions: Option<Vec<u8>>,
    bytes: String,
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = root.join("corpus");
    let vectors = root.join("../vectors/packets");
    for entry in fs::read_dir(&vectors).expect("the folder of the vectors") {
        let path = entry.expect("an entry of the folder").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = fs::read_to_string(&path).expect("a readable file");
            let file: File = toml::from_str(&text).expect("a file of cases");
            let stem = path.file_stem().expect("a file name").to_string_lossy();
            file.case
                .iter()
                .for_each(|case| write_packet(&corpus, &stem, case));
        }
    }
    write_topics(&corpus);
    write_websocket(&corpus);
    write_proxy(&corpus);
}

fn write(corpus: &Path, target: &str, name: &str, bytes: &[u8]) {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let folder = corpus.join(target);
    fs::create_dir_all(&folder).expect("a folder for the seeds");
    fs::write(folder.join(format!("seed-{name}")), bytes).expect("a seed");
}

/// A case goes to the target of each of its versions; a first packet goes to both.
fn write_packet(corpus: &Path, stem: &str, case: &Case) {
    let role = if case.role.as_deref() == Some("client") {
        CLIENT
    } else {
        0
    };
    let levels = case.versions.clone().unwrap_or_else(|| vec![0, 5]);
    let known = if case.versions.is_some() { KNOWN } else { 0 };
    for level in levels {
        let lower = if level == 3 { LOWER } else { 0 };
        let target = if level == 5 { "codec_v5" } else { "codec_v3" };
        let bytes = [&[role | known | lower][..], &bytes_of(&case.bytes)].concat();
        write(
            corpus,
            target,
            &format!("{stem}-{}-{level}", case.name),
            &bytes,
        );
    }
}

/// Hexadecimal with ASCII between apostrophes, as `tests/vectors/packets/README.md` says.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: String = part.split(' ').collect();
        for start in (0..digits.len()).step_by(2) {
            let pair = &digits[start..start + 2];
            bytes.push(u8::from_str_radix(pair, 16).expect("two hexadecimal digits"));
        }
    }
    bytes
}

fn write_topics(corpus: &Path) {
    let cases = [
        ("plain", "a/b/c\na/b/c"),
        ("plus", "a/b/c\na/+/c"),
        ("hash", "a/b/c\na/#"),
        ("hash-parent", "a\na/#"),
        ("dollar", "$SYS/brokers\n+/brokers"),
        ("dollar-own", "$SYS/brokers\n$SYS/+"),
        ("empty-levels", "//\n+/+/+"),
        ("share", "a/b\n$share/g/a/+"),
        ("share-no-filter", "a\n$share/g"),
        ("queue", "a/b\n$queue/#"),
        ("exclusive", "a\n$exclusive/a"),
        ("delayed", "$delayed/10/a\na"),
        ("delayed-absolute", "$delayed/1700000000/a\na"),
        ("bad-hash", "a\na#"),
        ("bad-plus", "a\na/b+"),
        ("deep", "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a\n+/+/+/+/+/+/#"),
        ("text", "\u{feff}é/e\u{301}\n+/e\u{301}"),
    ];
    for (name, text) in cases {
        write(corpus, "topic_filter", name, text.as_bytes());
    }
}

fn write_websocket(corpus: &Path) {
    let request = "GET /mqtt HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    let mask = [1, 2, 3, 4];
    let frame = |first: u8, payload: &[u8]| {
        let masked = payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key);
        let length = u8::try_from(payload.len()).expect("a payload is short");
        [
            &[first, 0x80 | length][..],
            &mask,
            &masked.collect::<Vec<_>>(),
        ]
        .concat()
    };
    let ping = b"\xC0\x00";
    let frames: [(&str, Vec<u8>); 8] = [
        ("binary", frame(0x82, ping)),
        (
            "fragments",
            [
                frame(0x02, &ping[..1]),
                frame(0x89, b"p"),
                frame(0x80, &ping[1..]),
            ]
            .concat(),
        ),
        ("text", frame(0x81, b"hi")),
        ("close", frame(0x88, b"\x03\xE8")),
        ("pong", frame(0x8A, b"")),
        ("unmasked", vec![0x82, 0x01, 0x00]),
        ("reserved", frame(0xC2, b"")),
        ("long", [&[0x82, 0xFE, 0xFF, 0xFF][..], &mask].concat()),
    ];
    for (name, bytes) in frames {
        let stream = [&[200][..], request.as_bytes(), &bytes].concat();
        write(corpus, "websocket", name, &stream);
    }
    write(
        corpus,
        "websocket",
        "wrong-path",
        b"\x10GET / HTTP/1.1\r\nHost: b\r\n\r\n",
    );
}

fn write_proxy(corpus: &Path) {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = |command: u8, family: u8, body: &[u8]| {
        let length = u16::try_from(body.len())
            .expect("a body is short")
            .to_be_bytes();
        [&signature[..], &[command, family], &length, body].concat()
    };
    let tcp4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x1F, 0x90, 0x07, 0x5B];
    let name = |kind: u8, text: &[u8]| {
        let length = u16::try_from(text.len())
            .expect("a text is short")
            .to_be_bytes();
        [&[kind][..], &length, text].concat()
    };
    let ssl = [
        &[7, 0, 0, 0, 0][..],
        &name(0x21, b"TLSv1.3"),
        &name(0x22, b"client"),
    ]
    .concat();
    let tlvs = [name(0x02, b"broker.example"), name(0x20, &ssl)].concat();
    let cases = [
        (
            "v1-tcp4",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 8080 1883\r\nx".to_vec(),
        ),
        ("v1-tcp6", b"PROXY TCP6 ::1 ::2 8080 1883\r\n".to_vec()),
        ("v1-unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("v2-local", v2(0x20, 0, &[])),
        ("v2-tcp4", v2(0x21, 0x11, &tcp4)),
        ("v2-tcp6", v2(0x21, 0x21, &[1; 36])),
        ("v2-unix", v2(0x21, 0x31, &[b'a'; 216])),
        ("v2-tlvs", v2(0x21, 0x11, &[&tcp4[..], &tlvs].concat())),
        ("v2-cut", v2(0x21, 0x11, &tcp4)[..20].to_vec()),
    ];
    for (name, bytes) in cases {
        write(corpus, "proxy", name, &bytes);
    }
}
