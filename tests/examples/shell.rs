//! As much of a shell as a README needs: words and quotes. What a shell would do something with is refused, so that a
//! command means here what it means to a reader who pastes it.

use anyhow::{Result, bail};

/// Unquoted, a shell gives these a meaning.
const SPECIAL: &str = "$`|&;<>()*?[]{}~!";
/// Within double quotes, these.
const SPECIAL_QUOTED: &str = "$`!";

/// The commands of a block, as words. Empty lines and comments are none.
pub(crate) fn commands(text: &str) -> Result<Vec<Vec<String>>> {
    let mut commands = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            commands.push(words(line)?);
        }
    }
    Ok(commands)
}

fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(character) => word.push(character),
                        None => bail!("a quote is not closed: {line}"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => match rest.next() {
                            Some(character @ ('"' | '\\')) => word.push(character),
                            other => bail!("`\\{}` in double quotes is not known: {line}", other.unwrap_or(' ')),
                        },
                        Some(special) if SPECIAL_QUOTED.contains(special) => {
                            bail!("`{special}` in double quotes is not known: {line}")
                        }
                        Some(character) => word.push(character),
                        None => bail!("a quote is not closed: {line}"),
                    }
                }
            }
            '\\' => match rest.next() {
                Some(character) => word.get_or_insert_default().push(character),
                None => bail!("it ends with a backslash: {line}"),
            },
            special if SPECIAL.contains(special) => bail!("quote `{special}`, or mark the block `sh ignore`: {line}"),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Ok(words)
}
