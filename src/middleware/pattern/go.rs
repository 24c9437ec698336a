//! Go's syntax of regular expressions and replacements, where it differs from that of the `regex` crate.
//!
//! Takes what a user wrote for Traefik, gives what the crate reads in the same sense. What Go refuses may be accepted
//! here (`a**`, `(?x)`); what can't be said otherwise is left as it is, for the crate to refuse.

/// An expression in the crate's syntax. The differences: `\d`, `\s`, `\w` and `\b` are of ASCII; `\Q…\E` quotes; `\<` and
/// `\>` are plain; octal escapes; `{` is plain where it is no repetition; inside of brackets, `[`, `&&`, `--` and `~~`
/// are plain.
pub(super) fn translate(expression: &str) -> String {
    let mut reader = Reader { rest: expression, out: String::with_capacity(expression.len() + 16) };
    while let Some(c) = reader.next() {
        match c {
            '\\' => reader.escape(),
            '[' => reader.class(),
            '{' if !is_repetition(reader.rest) => reader.out.push_str("\\{"),
            _ => reader.out.push(c),
        }
    }
    reader.out
}

/// `n}`, `n,}` or `n,m}`
fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        None => number(inside),
        Some((least, most)) => number(least) && (most.is_empty() || number(most)),
    }
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        if self.rest.chars().next().is_some_and(wanted) { self.next() } else { None }
    }

    fn copy_if(&mut self, wanted: impl Fn(char) -> bool) {
        let next = self.next_if(wanted);
        self.out.extend(next);
    }

    /// Outside of brackets, behind a backslash.
    fn escape(&mut self) {
        let Some(c) = self.next() else { return self.out.push('\\') };
        match c {
            'Q' => {
                let (quoted, after) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.out.push_str(&regex::escape(quoted));
                self.rest = after;
            }
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            _ => match ascii(c) {
                Some((negated, inside)) => {
                    let not = if negated { "^" } else { "" };
                    self.out.push_str(&format!("[{not}{inside}]"));
                }
                None => self.single(c),
            },
        }
    }

    /// An escape of one character or of a Unicode class, behind its backslash.
    fn single(&mut self, c: char) {
        match c {
            '<' | '>' => self.out.push(c),
            // A lone digit would be a backreference: left, to be refused.
            '1'..='7' if !self.rest.starts_with(is_octal) => self.out.extend(['\\', c]),
            '0'..='7' => {
                let mut code = digit(c);
                for _ in 0..2 {
                    match self.next_if(is_octal) {
                        Some(next) => code = code * 8 + digit(next),
                        None => break,
                    }
                }
                self.out.push_str(&format!("\\x{{{code:x}}}"));
            }
            'p' | 'P' | 'x' => {
                self.out.extend(['\\', c]);
                match self.next() {
                    Some('{') => {
                        let (inside, after) = self.rest.split_once('}').unwrap_or((self.rest, ""));
                        self.out.extend(["{", inside, "}"]);
                        self.rest = after;
                    }
                    // `x` has a second digit.
                    Some(first) => {
                        self.out.push(first);
                        if c == 'x' {
                            self.copy_if(|c| c.is_ascii_hexdigit());
                        }
                    }
                    None => {}
                }
            }
            _ => self.out.extend(['\\', c]),
        }
    }

    /// Behind an opening bracket, up to the closing one.
    fn class(&mut self) {
        self.out.push('[');
        self.copy_if(|c| c == '^');
        let mut first = true;
        while let Some(c) = self.next() {
            if c == ']' && !first {
                return self.out.push(']');
            }
            first = false;
            if c == '['
                && let Some((name, after)) = self.rest.strip_prefix(':').and_then(|rest| rest.split_once(":]"))
            {
                self.out.extend(["[:", name, ":]"]);
                self.rest = after;
                continue;
            }
            if !self.item(c) {
                continue;
            }
            let range = self.rest.strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(']'));
            if let Some(after) = range {
                self.out.push('-');
                self.rest = after;
                if let Some(end) = self.next() {
                    self.item(end);
                }
            }
        }
    }

    /// Inside of brackets: a character or an escape. Whether a range may begin with it.
    fn item(&mut self, c: char) -> bool {
        match c {
            '\\' => {
                let Some(c) = self.next() else {
                    self.out.push('\\');
                    return false;
                };
                match ascii(c) {
                    Some((true, inside)) => self.out.push_str(&format!("[^{inside}]")),
                    Some((false, inside)) => self.out.push_str(inside),
                    None => {
                        self.single(c);
                        return !matches!(c, 'p' | 'P');
                    }
                }
                false
            }
            '[' | ']' | '^' | '-' | '&' | '~' => {
                self.out.extend(['\\', c]);
                true
            }
            _ => {
                self.out.push(c);
                true
            }
        }
    }
}

/// What a Perl class holds, and whether it is all but that.
fn ascii(c: char) -> Option<(bool, &'static str)> {
    let inside = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\f\\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((c.is_ascii_uppercase(), inside))
}

fn is_octal(c: char) -> bool {
    matches!(c, '0'..='7')
}

fn digit(c: char) -> u32 {
    c.to_digit(8).unwrap_or_default()
}

/// A part of a replacement as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text, `$$` being one dollar sign in it.
    Text(String),
    /// What a `$` names: a number or a name.
    Group(&'a str),
}

/// Takes a replacement apart (Go's `Regexp.Expand`). A `$` that names nothing is text.
pub(super) fn parts(replacement: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) = name(after) {
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Group(name));
            rest = after;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// The name behind a `$`, in braces or not, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    let (braced, inside) = match text.strip_prefix('{') {
        Some(inside) => (true, inside),
        None => (false, text),
    };
    let end = inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, after) = inside.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    if braced { Some((name, after.strip_prefix('}')?)) } else { Some((name, after)) }
}
