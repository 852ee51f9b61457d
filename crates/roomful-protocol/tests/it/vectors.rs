//! The golden vectors in `docs/protocol/vectors`: one file per message, with its JSON and its binary encoding in hex.
//!
//! With `ROOMFUL_WRITE_VECTORS` set, they are written instead of checked.

use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf};

use roomful_protocol::{Encoding, Signal};

use crate::samples;

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "docs", "protocol", "vectors"].iter().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn text<M: Signal>(name: &str, message: &M) -> String {
    let json: serde_json::Value =
        serde_json::from_slice(&Encoding::Json.encode(message)).expect("our own JSON");
    let binary = hex(&Encoding::Binary.encode(message));
    let vector = serde_json::json!({"name": name, "json": json, "binary": binary});
    serde_json::to_string_pretty(&vector).expect("JSON of JSON") + "\n"
}

#[test]
fn the_vectors_are_what_the_types_say() {
    let client = samples::client().into_iter().map(|(name, message)| (name, text(name, &message)));
    let server = samples::server().into_iter().map(|(name, message)| (name, text(name, &message)));
    let vectors: Vec<(&str, String)> = client.chain(server).collect();
    if std::env::var_os("ROOMFUL_WRITE_VECTORS").is_some() {
        for (name, text) in &vectors {
            fs::write(folder().join(format!("{name}.json")), text).expect("the folder is there");
        }
    }
    for (name, text) in &vectors {
        let written = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap_or_default();
        let advice =
            "run the tests with ROOMFUL_WRITE_VECTORS=1, and see whether clients of today can read it";
        assert_eq!(&written, text, "{name}: {advice}");
    }
    let files = fs::read_dir(folder()).expect("the folder is there");
    let files: BTreeSet<String> =
        files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    let names: BTreeSet<String> = vectors.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(files, names, "every file has its message");
}
