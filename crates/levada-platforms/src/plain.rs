//! Plain words and numbers made of any text: what names of resources, and shares of many, are made of.

use levada_model::fingerprint::fingerprint;

/// Bytes of the readable beginning of a platform's prefix.
const PREFIX_SLUG_BYTES: usize = 16;

/// What every resource of a platform is called by: at most 40 bytes of `[a-z0-9-]`.
pub fn prefix(platform: &str) -> String {
    format!("levada-{}-{}", slug(platform, '-', PREFIX_SLUG_BYTES), hash(&[platform]))
}

/// Letters in lower case and digits, everything else one separator.
pub fn slug(text: &str, separator: char, bytes: usize) -> String {
    let mut slug = String::new();
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9') => slug.push(plain),
            _ if slug.ends_with(separator) || slug.is_empty() => {}
            _ => slug.push(separator),
        }
    }
    slug.truncate(bytes);
    let slug = slug.trim_end_matches(separator);
    if slug.is_empty() { "x".to_owned() } else { slug.to_owned() }
}

/// 64 bits in 16 hexadecimal digits.
pub fn hash(parts: &[&str]) -> String {
    let mut digits = fingerprint(parts).to_string();
    digits.truncate(16);
    digits
}

/// A number that stays the same for the same parts, evenly spread.
pub fn number(parts: &[&str], below: u32) -> u32 {
    let spread = fingerprint(parts).0 % u128::from(below.max(1));
    u32::try_from(spread).expect("a remainder is less than its divisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly() {
        let mut counts = [0_u32; 16];
        for store in 0..1_600 {
            counts[number(&["P", &format!("store{store}")], 16) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
    }
}
