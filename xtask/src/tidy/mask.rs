//! Rust source with all that is no code blanked: comments, and the insides of strings and characters.
//!
//! Takes a file's text, gives a text of the same length and lines in which a search finds code only.
//! It is a lexer for these few tokens and no parser.

/// Blanks comments and the insides of literals; line ends and the quotes themselves stay.
pub(crate) fn mask(text: &str) -> String {
    let source = text.as_bytes();
    let mut masked = source.to_vec();
    let mut at = 0;
    while at < source.len() {
        at = match source[at] {
            b'/' if source[at..].starts_with(b"//") => blank(&mut masked, at, line_end(source, at)),
            b'/' if source[at..].starts_with(b"/*") => blank(&mut masked, at, comment_end(source, at)),
            b'"' => blank_inside(&mut masked, at + 1, string_end(source, at + 1)),
            b'r' if is_raw_prefix(source, at) => match raw_string(source, at) {
                Some((from, to)) => blank_inside(&mut masked, from, to),
                None => at + 1,
            },
            b'\'' => match character_end(text, at) {
                Some(end) => blank_inside(&mut masked, at + 1, end),
                None => at + 1,
            },
            _ => at + 1,
        };
    }
    String::from_utf8(masked).expect("whole characters were replaced by spaces")
}

/// Blanks each item under `#[cfg(test)]` in a masked text.
pub(crate) fn without_tests(masked: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut bytes = masked.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = masked[from..].find(MARK) {
        let start = from + found;
        let end = item_end(masked.as_bytes(), start + MARK.len());
        from = blank(&mut bytes, start, end);
    }
    String::from_utf8(bytes).expect("whole items were replaced by spaces")
}

/// Where each occurrence of a word begins that stands on its own, not as a part of a longer name.
pub(crate) fn words<'a>(masked: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = masked.as_bytes();
    masked.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).is_some_and(|before| is_word(bytes[before]));
        let ends_in_word = word.bytes().last().is_some_and(is_word);
        let after = ends_in_word && bytes.get(at + word.len()).is_some_and(|byte| is_word(*byte));
        !before && !after
    })
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn blank(masked: &mut [u8], from: usize, to: usize) -> usize {
    for byte in &mut masked[from..to] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
    to
}

/// Blanks up to the closing quote and goes on behind it.
fn blank_inside(masked: &mut [u8], from: usize, to: usize) -> usize {
    (blank(masked, from, to) + 1).min(masked.len())
}

fn line_end(source: &[u8], at: usize) -> usize {
    source[at..].iter().position(|byte| *byte == b'\n').map_or(source.len(), |length| at + length)
}

/// The end of a block comment; they nest.
fn comment_end(source: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at + 2, 1);
    while at < source.len() && depth > 0 {
        at += match &source[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
    }
    at
}

/// The closing quote of a string whose inside begins at `at`.
fn string_end(source: &[u8], mut at: usize) -> usize {
    while at < source.len() && source[at] != b'"' {
        at += if source[at] == b'\\' { 2 } else { 1 };
    }
    at.min(source.len())
}

/// Whether an `r` begins a token (`r"`, `br#"`), instead of ending a name.
fn is_raw_prefix(source: &[u8], at: usize) -> bool {
    let word_before = |at: usize| at.checked_sub(1).is_some_and(|before| is_word(source[before]));
    !word_before(at) || (matches!(source[at - 1], b'b' | b'c') && !word_before(at - 1))
}

/// The inside of a raw string that begins at `at`; `None` for a raw identifier.
fn raw_string(source: &[u8], at: usize) -> Option<(usize, usize)> {
    let hash_count = source[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let quote = at + 1 + hash_count;
    if source.get(quote) != Some(&b'"') {
        return None;
    }
    let closing = [b"\"".as_slice(), &b"#".repeat(hash_count)].concat();
    let inside = quote + 1;
    let length = source[inside..].windows(closing.len()).position(|window| window == closing);
    Some((inside, length.map_or(source.len(), |length| inside + length)))
}

/// The closing quote of a character literal; `None` for a lifetime.
fn character_end(text: &str, at: usize) -> Option<usize> {
    let mut rest = text[at + 1..].char_indices();
    match rest.next()? {
        // What is escaped may itself be a quote, so it is never the closing one.
        (_, '\\') => text.get(at + 3..)?.find('\'').map(|length| at + 3 + length),
        _ => rest.next().filter(|(_, next)| *next == '\'').map(|(length, _)| at + 1 + length),
    }
}

/// The end of the item that begins at `at`: its semicolon, or its closing brace.
fn item_end(masked: &[u8], at: usize) -> usize {
    let Some(opening) = masked[at..].iter().position(|byte| matches!(byte, b'{' | b';')) else { return masked.len() };
    let opening = at + opening;
    if masked[opening] == b';' {
        return opening + 1;
    }
    let mut depth = 0;
    for (index, byte) in masked.iter().enumerate().skip(opening) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    masked.len()
}

#[cfg(test)]
mod tests {
    use super::{mask, without_tests, words};

    #[test]
    fn comments_and_insides_of_literals_are_blank_and_code_stays() {
        let text = "a(); // b\n/* c /* d */ e */ f(\"g \\\" h\", r#\"i \" j\"#, 'k', '\\'', b'l', '\\u{1f}');\nlet r#m = &'n o;";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        let letters: String = masked.chars().filter(char::is_ascii_alphabetic).collect();
        assert_eq!(letters, "afrbletrmno");
        assert_eq!(masked.lines().count(), 3);
    }

    #[test]
    fn text_that_ends_inside_a_token_is_masked_to_its_end() {
        for text in ["\"open", "/* open", "r#\"open", "'", "'\\", "\"\\", "é'é", "// ö"] {
            assert_eq!(mask(text).len(), text.len(), "{text}");
        }
    }

    #[test]
    fn items_under_cfg_test_are_blank_and_what_follows_stays() {
        let text = "use a;\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(test)]\nmod tests { fn d() { if e {} } }\nfn f() {}";
        assert_eq!(without_tests(text).split_whitespace().collect::<String>(), "usea;fnc(){}fnf(){}");
    }

    #[test]
    fn words_are_found_only_where_they_stand_alone() {
        assert_eq!(words("rand::x operand::y rand::z", "rand::").collect::<Vec<_>>(), [0, 19]);
        assert_eq!(words("allow allowed my_allow", "allow").collect::<Vec<_>>(), [0]);
    }
}
