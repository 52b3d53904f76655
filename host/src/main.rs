//! The `facetd` binary.

fn main() -> std::process::ExitCode {
    facetd::cli::main()
}
