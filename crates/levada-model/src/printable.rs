//! Text of the model on its way to people: it can't drive a terminal, forge a line, or turn around
//! the order of what is read.

/// What stands for a character that can't be shown.
const PLACEHOLDER: char = '·';

/// The text on one line: control characters and those that change the direction of reading are
/// replaced.
pub fn one_line(text: &str) -> String {
    text.chars().map(|character| if is_hidden(character) { PLACEHOLDER } else { character }).collect()
}

fn is_hidden(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal_or_turns_the_text_around() {
        assert_eq!(one_line("größe 😀"), "größe 😀");
        assert_eq!(one_line("moved\n0 errors\u{1b}[2J\u{202e}x"), "moved·0 errors·[2J·x");
    }
}
