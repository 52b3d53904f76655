//! Output is compared line by line; `...` stands for what differs from run to run.

use anyhow::{Result, bail};

/// In a line: any characters of it. Alone in a line: any lines, or none.
const ANYTHING: &str = "...";

pub(crate) fn compare(shown: &str, printed: &str) -> Result<()> {
    let (shown, printed): (Vec<_>, Vec<_>) = (shown.lines().collect(), printed.lines().collect());
    if lines_match(&shown, &printed) {
        return Ok(());
    }
    bail!("shown:\n{}\nprinted:\n{}", indent(&shown), indent(&printed))
}

fn indent(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("    {line}\n")).collect()
}

fn lines_match(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.is_empty(),
        [line, rest @ ..] if line.trim() == ANYTHING => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        [line, rest @ ..] => match printed {
            [first, others @ ..] => line_matches(line, first) && lines_match(rest, others),
            [] => false,
        },
    }
}

/// The parts between wildcards occur in their order, the first at the beginning, the last at the end.
fn line_matches(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (shown.trim_end(), printed.trim_end());
    let Some((first, rest)) = shown.split_once(ANYTHING) else {
        return shown == printed;
    };
    let Some(mut printed) = printed.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split(ANYTHING).collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves the most for the parts behind.
        match printed.find(part) {
            Some(at) => printed = &printed[at + part.len()..],
            None => return false,
        }
    }
    printed.ends_with(last)
}
