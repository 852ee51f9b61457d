//! Gives every file of the corpora to its body again.

use std::{fs, path::PathBuf};

use roomful_fuzz::BODIES;

#[test]
fn what_was_found_once_stays_mended() {
    let corpora: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "corpus"].iter().collect();
    for (name, body) in BODIES {
        let files = fs::read_dir(corpora.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for file in files {
            body(&fs::read(file.expect("readable").path()).expect("readable"));
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
    }
}
