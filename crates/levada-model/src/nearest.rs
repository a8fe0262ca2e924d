//! The known word that a mistyped one most likely meant.
//!
//! Takes a word and the words that exist, gives the nearest by edit distance, where one is near.

/// Longer words are not compared: a hint is not worth quadratic time.
const WORD_BYTES_MAX: usize = 64;

/// The known word with the smallest edit distance, at most a third of the word's length; of equal
/// ones the first. Letter case and `-` for `_` cost nothing.
///
/// A known word costs its length where it is too short, too long or too far off, which are nearly all.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let (mut folded_word, mut folded) = (Vec::new(), Vec::new());
    fold(word, &mut folded_word);
    let mut limit = (folded_word.len() / 3).max(1);
    let mut rows = Rows::default();
    let mut best: Option<&'k str> = None;
    for candidate in known.into_iter().filter(|candidate| candidate.len() <= WORD_BYTES_MAX) {
        fold(candidate, &mut folded);
        if let Some(distance) = rows.distance(&folded_word, &folded, limit) {
            best = Some(candidate);
            match distance.checked_sub(1) {
                None => break,
                Some(nearer) => limit = nearer,
            }
        }
    }
    best
}

fn fold(word: &str, folded: &mut Vec<char>) {
    folded.clear();
    folded.extend(word.chars().flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }));
}

/// The last three rows of the table of distances between the beginnings of two words.
#[derive(Default)]
struct Rows {
    before: Vec<usize>,
    above: Vec<usize>,
    row: Vec<usize>,
}

impl Rows {
    /// Insertions, deletions, replacements and swaps of neighbours that turn one word into the
    /// other; `None` beyond the limit.
    fn distance(&mut self, a: &[char], b: &[char], limit: usize) -> Option<usize> {
        if a.len().abs_diff(b.len()) > limit {
            return None;
        }
        self.above.clear();
        self.above.extend(0..=b.len());
        let mut is_above_near = true;
        for i in 1..=a.len() {
            self.next(a, b, i);
            // A swap reaches back two rows: only two far ones end it.
            let is_near = self.row.iter().any(|distance| *distance <= limit);
            if !is_near && !is_above_near {
                return None;
            }
            is_above_near = is_near;
            std::mem::swap(&mut self.before, &mut self.above);
            std::mem::swap(&mut self.above, &mut self.row);
        }
        Some(self.above[b.len()]).filter(|distance| *distance <= limit)
    }

    /// Fills the row of the first `i` letters of `a`.
    fn next(&mut self, a: &[char], b: &[char], i: usize) {
        let Self { before, above, row } = self;
        row.clear();
        row.push(i);
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
    }
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
        assert_eq!(nearest("ocntainer", known), Some("container"), "a swap of neighbours is one mistake");
        assert_eq!(nearest("tabel", ["tables", "table", "tab"]), Some("table"), "the nearest, not the first");
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
    }
}
