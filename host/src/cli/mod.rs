//! The command line. Errors are sentences with a hint; results go to standard output, everything else to standard error.

mod build;
mod client;
mod inspect;
mod offline;
mod remote;
mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// A host for facets: small stateful WebAssembly components, each with its own SQLite database
#[derive(Parser)]
#[command(name = "facetd", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the classes and namespaces of a facetd.toml; components must have been built
    Serve(Serve),
    /// Build the components of a project from source, then serve it
    Dev(Dev),
    /// Build the components of a project from source, setting up the wasm toolchain if it is missing
    Build(Build),
    /// Call a method of an object's root facet on a running host and print its JSON result
    Call(Call),
    /// Print the facets of an object on a running host: class, state, bytes
    Tree(Tree),
    /// Check a data directory that no host uses: journal, indexes, databases; changes nothing
    Check(Check),
    /// List the components of a data directory that no host uses, and remove those that no stored facet runs if asked to
    Classes(Classes),
    /// Explain one object of a data directory that no host uses, and mend its index if asked to
    Doctor(Doctor),
    /// Make a token for `access` in facetd.toml: the token, and on a second line its hash
    Token,
    /// After an unclean stop, carry out the journal without starting a host
    Recover(Recover),
    /// Show what a component asks for and offers, and what it would be refused, without running it
    Inspect(Inspect),
    /// How the host compiles a component: from standard input to standard output, with bounds
    #[command(name = crate::classes::compile::COMMAND, hide = true)]
    CompileComponent,
}

#[derive(Args)]
struct Serve {
    /// The configuration, or a folder with a facetd.toml
    #[arg(long, default_value = "facetd.toml", value_name = "PATH")]
    config: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Dev {
    /// A folder with a facetd.toml, or the file itself
    #[arg(default_value = ".", value_name = "PATH")]
    project: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
    /// Data directory; the configuration's, or .facetd/data beside it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes any that is free [default: the configuration's, or 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

#[derive(Args)]
struct Build {
    /// A folder with a facetd.toml, or the file itself
    #[arg(default_value = ".", value_name = "PATH")]
    project: PathBuf,
    /// Print the result as one JSON object, class names to paths
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Remote {
    /// Address of the running host, as a URL or unix:PATH [default: http://127.0.0.1:8787]
    #[arg(long, env = "FACETD_URL", value_name = "URL")]
    url: Option<String>,
    /// A token, if the host wants one; better in FACETD_TOKEN, for others can see the arguments of a process
    #[arg(long, env = "FACETD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

#[derive(Args)]
struct Call {
    /// NAMESPACE/OBJECT; an object by its id is written id:<64 hex digits>
    object: String,
    /// The method
    method: String,
    /// The arguments, a JSON array
    #[arg(default_value = "[]")]
    args: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Tree {
    /// NAMESPACE/OBJECT; an object by its id is written id:<64 hex digits>
    object: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Data directory of a host on this machine, reached by the admin socket in it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration of a host on this machine, or its folder [default: ./facetd.toml, if its host runs]
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Check {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print the bytes of each facet's database
    #[arg(long)]
    usage: bool,
}

#[derive(Args)]
struct Classes {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Remove what no stored facet runs; the next start stores again what facetd.toml names. Facets that have kept a digest
    /// to start something later do not find it any more
    #[arg(long)]
    remove_unused: bool,
}

#[derive(Args)]
struct Doctor {
    /// NAMESPACE/OBJECT; an object by its id is written id:<64 hex digits>
    object: String,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The namespace's unique_key, if facetd.toml gives it one
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Make a new index of what is good, and keep the old one beside it
    #[arg(long)]
    repair: bool,
    /// With --repair: databases that the index names and that are not there are taken for deleted
    #[arg(long, requires = "repair")]
    forget_missing: bool,
}

#[derive(Args)]
struct Recover {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// It is a copy that was made after a host was killed, and while none ran
    #[arg(long)]
    copied: bool,
    /// Its journal is damaged: carry out what lies before the damage, keep the rest, and tell which objects have lost commits
    #[arg(long)]
    salvage: bool,
}

#[derive(Args)]
struct Inspect {
    /// The component
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::serve(&args.config, &args.place),
        Command::Dev(args) => serve::dev(&args.project, &args.place),
        Command::Build(args) => build::build(&args),
        Command::Call(args) => client::call(&args),
        Command::Tree(args) => client::tree(&args),
        Command::Check(args) => offline::check(&args),
        Command::Classes(args) => offline::classes(&args),
        Command::Doctor(args) => offline::doctor(&args),
        Command::Token => token::token(),
        Command::Recover(args) => offline::recover(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::CompileComponent => return crate::classes::compile::main(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("facetd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
