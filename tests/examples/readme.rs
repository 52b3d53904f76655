//! A README as the list of its fenced blocks. A fence that the runner would have to guess about is an error.

use anyhow::{Result, bail, ensure};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Server,
    Commands,
    Ignored,
    Output,
}

/// What stands between two fences.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    /// Of the opening fence, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The blocks that say something to the runner, in their order.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<(Option<Kind>, usize, Vec<&str>)> = None;
    for (i, line) in text.lines().enumerate() {
        let Some(info) = line.trim().strip_prefix("```") else {
            if let Some((_, _, lines)) = &mut open {
                lines.push(line);
            }
            continue;
        };
        match open.take() {
            None => open = Some((kind(info.trim(), i + 1)?, i + 1, Vec::new())),
            Some((kind, line, lines)) => {
                ensure!(
                    info.is_empty(),
                    "line {}: a fence inside the block of line {line}",
                    i + 1
                );
                if let Some(kind) = kind {
                    let text = lines.join("\n");
                    blocks.push(Block { kind, line, text });
                }
            }
        }
    }
    match open {
        Some((_, line, _)) => bail!("line {line}: this block is not closed"),
        None => Ok(blocks),
    }
}

/// None for what is only to be read.
fn kind(info: &str, line: usize) -> Result<Option<Kind>> {
    let mut words = info.split_whitespace();
    Ok(match (words.next().unwrap_or_default(), words.next(), words.next()) {
        ("sh", None, None) => Some(Kind::Commands),
        ("sh", Some("server"), None) => Some(Kind::Server),
        ("sh", Some("ignore"), None) => Some(Kind::Ignored),
        ("text", None, None) => Some(Kind::Output),
        ("sh" | "text", ..) => bail!("line {line}: unknown marker in {info:?}; there are `sh server` and `sh ignore`"),
        ("bash" | "shell" | "console" | "zsh", ..) => bail!("line {line}: commands are marked ```sh, not {info:?}"),
        _ => None,
    })
}
