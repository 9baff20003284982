//! What must not compile does not, and the compiler says why.
//!
//! The `.stderr` beside each file of `tests/ui` is what the compiler prints. Its words change from
//! version to version, so `cargo test` leaves this out; it runs by name, and in `.ci/run`:
//!
//! ```sh
//! cargo test --test compile_fail
//! TRYBUILD=overwrite cargo test --test compile_fail   # after a change; then read the difference
//! ```

use std::process::Command;

/// The compiler whose words the `.stderr` files have.
const WORDS_OF: &str = "rustc 1.95.";

#[test]
fn what_the_kernel_would_refuse_does_not_compile() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().expect("cargo found a compiler");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.starts_with(WORDS_OF) {
        eprintln!(
            "this is {version}the .stderr files have the words of {WORDS_OF}x: other words here"
        );
        eprintln!("are no defect, but a call that compiles is one\n");
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
