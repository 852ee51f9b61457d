//! What users feel, measured; see `README.md` beside this file. Everything is under `benches`.
