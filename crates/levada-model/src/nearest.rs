//! The known word that a mistyped one most likely meant.
//!
//! Takes a word and the words that exist, gives the nearest by edit distance, where one is near.

/// Longer words are not compared: a hint is not worth quadratic time.
const WORD_BYTES_MAX: usize = 64;

/// The known word with the smallest edit distance, at most a third of the word's length; of equal
/// ones the first. Letter case and `-` for `_` cost nothing.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = folded(word);
    let limit = (word.len() / 3).max(1);
    let mut best: Option<(usize, &'k str)> = None;
    for candidate in known {
        if candidate.len() > WORD_BYTES_MAX {
            continue;
        }
        let distance = distance(&word, &folded(candidate));
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn folded(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_stranger_is_not() {
        let known = ["classification", "columns", "container", "table"];
        assert_eq!(nearest("clasification", known), Some("classification"));
        assert_eq!(nearest("Contianer", known), Some("container"));
        assert_eq!(nearest("colums", known), Some("columns"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
    }
}
