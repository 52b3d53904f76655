//! The little that must be known of SQL without compiling it: where blanks and comments end.

/// `text` without leading blanks, comments and empty statements.
fn skip_blanks(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(comment) = text.strip_prefix("--") {
            text = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = text.strip_prefix("/*") {
            // As in SQLite, a comment that is not closed goes to the end.
            text = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else {
            return text;
        }
    }
}

/// True if no statement is left.
pub(super) fn is_blank(text: &str) -> bool {
    skip_blanks(text).is_empty()
}

/// The word that the next statement begins with.
pub(super) fn first_word(text: &str) -> &str {
    let text = skip_blanks(text);
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_words() {
        for blank in ["", " \n;;", "-- all", "/* open", "; /* a */ -- b\n;"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        assert_eq!(first_word("-- x\n/* y */ ;vacuum into 'z'"), "vacuum");
        assert_eq!(first_word("\u{feff}VACUUM;"), "VACUUM");
        assert!(!is_blank("-- x\nSELECT 1"));
    }
}
