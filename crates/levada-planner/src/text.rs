//! Lines of text for people; whatever stands in them stays on its line.

use levada_model::printable::one_line;

/// Adds a line.
pub(crate) fn line(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.push_str(&one_line(&arguments.to_string()));
    out.push('\n');
}
