//! Where the words of an SQL text are that stand outside of parentheses, as SQLite reads it.

/// A piece of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'s> {
    /// A word, a quoted name, a number, a sign.
    Word { start: usize, text: &'s str },
    /// `by_place`: its number is not written.
    Parameter {
        start: usize,
        text: &'s str,
        by_place: bool,
    },
    /// The semicolon behind the statement.
    End { start: usize },
}

impl<'s> Token<'s> {
    pub(super) fn start(&self) -> usize {
        match self {
            Self::Word { start, .. } | Self::Parameter { start, .. } | Self::End { start } => *start,
        }
    }

    pub(super) fn text(&self) -> &'s str {
        match self {
            Self::Word { text, .. } | Self::Parameter { text, .. } => text,
            Self::End { .. } => ";",
        }
    }

    pub(super) fn end(&self) -> usize {
        self.start() + self.text().len()
    }

    /// True for this keyword or sign.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word { text, .. } if text.eq_ignore_ascii_case(word))
    }

    /// The name that is meant, without quotes.
    pub(super) fn name(&self) -> String {
        let text = self.text();
        let inner = || text[1..].strip_suffix(|_: char| true).unwrap_or("");
        match text.as_bytes().first() {
            Some(b'[') => inner().to_owned(),
            Some(quote @ (b'"' | b'`' | b'\'')) => {
                let quote = char::from(*quote);
                inner().replace(&format!("{quote}{quote}"), &quote.to_string())
            }
            _ => text.to_owned(),
        }
    }
}

/// True if each parenthesis has its other one.
pub(super) fn are_balanced(text: &str) -> bool {
    let mut tokens = Tokens::of(text);
    while tokens.next().is_some() {}
    tokens.depth == 0 && !tokens.too_many_closed
}

/// The tokens outside of parentheses; parameters also from within them.
pub(super) struct Tokens<'s> {
    text: &'s str,
    at: usize,
    depth: usize,
    too_many_closed: bool,
}

impl<'s> Tokens<'s> {
    pub(super) fn of(text: &'s str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            too_many_closed: false,
        }
    }

    /// Where the piece that begins at `at` ends, and whether it is a token at all.
    fn piece(&self) -> (usize, bool) {
        let rest = &self.text[self.at..];
        let upto = |found: Option<usize>, more: usize| found.map_or(rest.len(), |at| at + more);
        let length = |taken: fn(char) -> bool| rest.find(|c| !taken(c)).unwrap_or(rest.len());
        let mut chars = rest.chars();
        let first = chars.next().unwrap_or(' ');
        match (first, chars.next()) {
            ('-', Some('-')) => (upto(rest.find('\n'), 1), false),
            ('/', Some('*')) => (upto(rest[2..].find("*/"), 4), false),
            ('\'' | '"' | '`', _) => (self.quoted(first), true),
            ('[', _) => (upto(rest.find(']'), 1), true),
            ('?' | ':' | '@' | '$' | '#', _) => (1 + length_of_word(&rest[1..]), true),
            (c, _) if is_word(c) => (length(is_word), true),
            (c, _) if c.is_ascii_whitespace() => (length(|c| c.is_ascii_whitespace()), false),
            (c, _) => (c.len_utf8(), c != '\u{feff}'),
        }
    }

    /// The length of a quoted piece, in which the quote stands for itself if it is doubled.
    fn quoted(&self, quote: char) -> usize {
        let rest = &self.text[self.at..];
        let mut at = 1;
        loop {
            let Some(found) = rest[at..].find(quote) else {
                return rest.len();
            };
            at += found + 1;
            if !rest[at..].starts_with(quote) {
                return at;
            }
            at += 1;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn length_of_word(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        while self.at < self.text.len() {
            let (start, (length, is_token)) = (self.at, self.piece());
            self.at += length;
            if !is_token {
                continue;
            }
            let text = &self.text[start..self.at];
            match text.as_bytes() {
                b"(" => self.depth += 1,
                b")" if self.depth == 0 => self.too_many_closed = true,
                b")" => self.depth -= 1,
                [b'?' | b':' | b'@' | b'$' | b'#', digits @ ..] => {
                    let written = text.starts_with('?') && !digits.is_empty();
                    return Some(Token::Parameter {
                        start,
                        text,
                        by_place: !written,
                    });
                }
                b";" if self.depth == 0 => return Some(Token::End { start }),
                _ if self.depth == 0 => return Some(Token::Word { start, text }),
                _ => {}
            }
        }
        None
    }
}
