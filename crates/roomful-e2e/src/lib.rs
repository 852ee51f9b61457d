//! Tests of roomful over real sockets; everything is under `tests/it`. Run them with `cargo xtask test-e2e`.
