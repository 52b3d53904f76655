//! The runner itself: it reads what people write, and what shows nothing or cannot be run fails.

use std::fs;

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::output::compare;
use crate::readme::{Kind, blocks};
use crate::{example, run, shell};

type Check = (&'static str, fn() -> Result<()>);

pub(crate) fn trials() -> Vec<Trial> {
    let checks: [Check; 5] = [
        ("runner::needs_a_readme", needs_a_readme),
        ("runner::skips_nothing", skips_nothing),
        ("runner::reads_blocks", reads_blocks),
        ("runner::splits_words", splits_words),
        ("runner::compares", compares),
    ];
    checks.map(|(name, check)| crate::trial(name.into(), check)).into()
}

/// The error of what has to fail.
fn refused<T>(result: Result<T>, said: &str) -> Result<()> {
    match result {
        Ok(_) => Err(anyhow!("should have failed with {said:?}")),
        Err(error) if format!("{error:#}").contains(said) => Ok(()),
        Err(error) => Err(error.context(format!("should have said {said:?}"))),
    }
}

fn needs_a_readme() -> Result<()> {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let readme = directory.path().join("README.md");
    refused(example(&readme), "every example has a README")?;
    for nothing in [
        "# An example\n",
        "```rust\nfn main() {}\n```\n",
        "```sh ignore\nmake\n```\n",
    ] {
        fs::write(&readme, nothing)?;
        refused(example(&readme), "no ```sh server block")?;
    }
    Ok(())
}

fn skips_nothing() -> Result<()> {
    for (readme, said) in [
        ("```sh\ncargo run --release -- call a/b c\n```", "has to come first"),
        ("```text\n2\n```", "no command stands before"),
        ("```sh server\ncargo run --release -- serve\n```", "dev PATH"),
        ("```sh server\ncargo build\n```", "dev PATH"),
        ("```sh server\n```", "one command"),
        ("```bash\nls\n```", "marked ```sh"),
        ("```sh wait\nls\n```", "unknown marker"),
        ("```sh\nls\n", "not closed"),
    ] {
        refused(blocks(readme).and_then(|blocks| run::run(&blocks)), said)?;
    }
    for unknown in [
        "ls",
        "cargo run -- call a/b c",
        "cargo run --release -- build x",
        "curl -v http://127.0.0.1:8787/",
    ] {
        let words: Vec<_> = unknown.split(' ').map(str::to_owned).collect();
        refused(run::command(&words, "http://127.0.0.1:1"), "does not know")?;
    }
    Ok(())
}

fn reads_blocks() -> Result<()> {
    let found = blocks("a\n```sh server\nx\n```\n```\n```\n```toml\n[a]\n```\n```text\n1\n\n2\n```\n")?;
    let found: Vec<_> = found.iter().map(|b| (b.kind, b.line, b.text.as_str())).collect();
    ensure!(
        found == [(Kind::Server, 2, "x"), (Kind::Output, 10, "1\n\n2")],
        "{found:?}"
    );
    Ok(())
}

fn splits_words() -> Result<()> {
    let text = "# comment\na 'b \"c\"' \"d \\\"e\" \\\n  f''g ''\n\nh\n";
    let found = shell::commands(text)?;
    ensure!(
        found == [vec!["a", "b \"c\"", "d \"e", "fg", ""], vec!["h"]],
        "{found:?}"
    );
    for special in [
        "a | b", "a > b", "a; b", "a $B", "a \"$B\"", "a 'b", "a \"b", "a && b", "a *",
    ] {
        ensure!(shell::commands(special).is_err(), "{special}");
    }
    Ok(())
}

fn compares() -> Result<()> {
    for (shown, printed) in [
        ("a", "a\n"),
        ("a\n...\nd", "a\nb\nc\nd"),
        ("...", ""),
        ("{\"at\":...}", "{\"at\":12}"),
        ("a...b...c", "a1b2bc"),
        ("...x", "xx"),
    ] {
        compare(shown, printed)?;
    }
    for (shown, printed) in [
        ("a", "b"),
        ("a", ""),
        ("", "a"),
        ("a\n...\nd", "a\nb"),
        ("a...bc", "abd"),
        ("ab...b", "ab"),
    ] {
        ensure!(compare(shown, printed).is_err(), "{shown:?} is not {printed:?}");
    }
    Ok(())
}
