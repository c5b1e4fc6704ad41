//! The program: everything is in the library, so that tests and benches use the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    carteiro::cli::run()
}
