//! Runs the blocks of one README in their order, from the top of the repository, as a reader would.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::output;
use crate::readme::{Block, Kind};
use crate::shell;
use crate::support::client::Client;
use crate::support::components::FACETD;
use crate::support::host::{Host, SERVING};
use crate::support::{cli, repository};

/// Where a host of a README listens; the one of the test chooses a free port, and the two are exchanged.
const ADDRESS: &str = "http://127.0.0.1:8787";
/// How a README runs the binary.
const CARGO_RUN: [&str; 4] = ["cargo", "run", "--release", "--"];

/// Answers how many blocks were run whose output was compared.
pub(crate) fn run(blocks: &[Block]) -> Result<usize> {
    let mut host: Option<Host> = None;
    // What the last block printed; none if it was not run, or has been compared.
    let mut printed: Option<String> = None;
    let (mut compared, mut ignored) = (0, false);
    for block in blocks {
        let result = match block.kind {
            Kind::Ignored => Ok(None),
            Kind::Server => serve(&block.text, &mut host).map(Some),
            Kind::Commands => commands(&block.text, host.as_mut()).map(Some),
            Kind::Output => match printed.take() {
                Some(printed) => {
                    compared += usize::from(!printed.starts_with(SERVING));
                    output::compare(&block.text, &printed).map(|()| None)
                }
                None if ignored => Ok(None),
                None => Err(anyhow!(
                    "no command stands before this output; leave the fence without a language"
                )),
            },
        };
        printed = result
            .with_context(|| format!("line {}", block.line))
            .map_err(|error| with_log(error, host.as_ref()))?;
        ignored = block.kind == Kind::Ignored;
    }
    match host {
        Some(mut host) => host.stop()?,
        None => bail!("no ```sh server block, so nothing can be run"),
    }
    Ok(compared)
}

fn with_log(error: anyhow::Error, host: Option<&Host>) -> anyhow::Error {
    match host {
        Some(host) => anyhow!("{error:#}\n{}", host.log()),
        None => error,
    }
}

/// Answers what the host prints.
fn serve(text: &str, host: &mut Option<Host>) -> Result<String> {
    let commands = shell::commands(text)?;
    let [words] = &commands[..] else {
        bail!("a server block is one command")
    };
    let project = words.strip_prefix(&CARGO_RUN.map(str::to_owned)[..]);
    let Some([dev, project]) = project.filter(|words| words[0] == "dev") else {
        bail!("a server block is `cargo run --release -- dev PATH`, not {words:?}")
    };
    debug_assert_eq!(dev, "dev");
    if let Some(mut before) = host.take() {
        before.stop()?;
    }
    let host = host.insert(Host::dev(project)?);
    host.url()?;
    Ok(format!("{SERVING}{ADDRESS}\n"))
}

/// Answers what the commands print, one after the other.
fn commands(text: &str, host: Option<&mut Host>) -> Result<String> {
    let url = host.context("a ```sh server block has to come first")?.url()?;
    let mut printed = String::new();
    let commands = shell::commands(text)?;
    ensure!(!commands.is_empty(), "an empty block");
    for words in commands {
        let output = command(&words, &url).with_context(|| words.join(" "))?;
        printed += &output.replace(&url, ADDRESS);
    }
    Ok(printed)
}

pub(crate) fn command(words: &[String], url: &str) -> Result<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["cargo", "run", "--release", "--", args @ ..] if matches!(args.first(), Some(&("call" | "tree"))) => {
            let mut command = Command::new(FACETD);
            command.args(args).env("FACETD_URL", url).current_dir(repository());
            let output = cli::limited(&mut command)?;
            ensure!(output.status.success(), "{}: {}", output.status, output.stderr);
            Ok(output.stdout)
        }
        ["curl", "-s", address] => fetch("GET", address, url, &[]),
        ["curl", "-s", "--data-binary", file, address] => {
            let file = file.strip_prefix('@').context("--data-binary takes @FILE")?;
            let body = fs::read(repository().join(file)).with_context(|| file.to_owned())?;
            fetch("POST", address, url, &body)
        }
        _ => {
            bail!("this runner does not know the command; main.rs says which it knows, `sh ignore` leaves a block out")
        }
    }
}

/// What `curl` does, without needing one. It prints bodies of errors, too.
fn fetch(method: &str, address: &str, url: &str, body: &[u8]) -> Result<String> {
    let path = address
        .strip_prefix(ADDRESS)
        .with_context(|| format!("only {ADDRESS} is reached from here"))?;
    // The content type that curl sends with a body.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let headers = if body.is_empty() { &[][..] } else { &form };
    let response = Client::new().http(method, &format!("{url}{path}"), headers, body)?;
    String::from_utf8(response.body).context("the answer is no text")
}
