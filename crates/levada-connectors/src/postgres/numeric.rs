//! PostgreSQL's binary `numeric` and a decimal of 128 bits, both ways.
//!
//! Format: int16 digit groups, int16 weight of the first group (in powers of 10,000), uint16 sign,
//! uint16 digits behind the point, then the groups; as `numeric_send` in PostgreSQL's
//! `src/backend/utils/adt/numeric.c` writes it.

use super::types::Problem;
use bytes::{BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Bytes before the groups.
const HEADER_BYTES: usize = 8;

/// Groups that can ever fit: a decimal has 38 digits, and may begin and end inside a group.
const GROUPS_MAX: usize = 11;

/// The value times 10^scale.
///
/// # Errors
/// It is NaN or infinite, or has more digits before or behind the point than the decimal.
pub(super) fn decode(bytes: &[u8], precision: u8, scale: u8) -> Result<i128, Problem> {
    if bytes.len() < HEADER_BYTES {
        return Err(Problem::Malformed);
    }
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let (count, weight, sign) = (usize::from(word(0)), i32::from(word(2) as i16), word(4));
    match sign {
        NAN => return Err(Problem::NotFinite("NaN")),
        INFINITY => return Err(Problem::NotFinite("infinity")),
        MINUS_INFINITY => return Err(Problem::NotFinite("-infinity")),
        _ => {}
    }
    if bytes.len() != HEADER_BYTES + 2 * count {
        return Err(Problem::Malformed);
    }
    if count == 0 {
        return Ok(0);
    }
    let too_wide = || Problem::OutOfDecimal { value: text(bytes), precision, scale };
    let group = |index: usize| i128::from(word(HEADER_BYTES + 2 * index));
    // What the last group's unit is worth in units of the decimal, as a power of ten.
    let exponent = 4 * (weight - (count as i32 - 1)) + i32::from(scale);
    let mut magnitude: i128 = 0;
    for index in 0..count {
        // The last group may reach behind the decimal's last digit: there it has to be zeros.
        let behind = if index + 1 == count { (-exponent).max(0) as u32 } else { 0 };
        let cut = 10i128.pow(behind.min(4));
        if behind > 4 || group(index) % cut != 0 {
            return Err(too_wide());
        }
        let shifted = magnitude.checked_mul(10_000 / cut);
        magnitude = shifted.and_then(|value| value.checked_add(group(index) / cut)).ok_or_else(too_wide)?;
    }
    let power = 10i128.checked_pow(exponent.max(0) as u32).ok_or_else(too_wide)?;
    let magnitude = magnitude.checked_mul(power).ok_or_else(too_wide)?;
    if magnitude >= 10i128.pow(u32::from(precision)) {
        return Err(too_wide());
    }
    Ok(if sign == NEGATIVE { -magnitude } else { magnitude })
}

/// The value as people read it; of a finite number in its binary form.
pub(super) fn text(bytes: &[u8]) -> String {
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, scale) = (i32::from(word(0)), i32::from(word(2) as i16), usize::from(word(6)));
    let group = |index: i32| if (0..count).contains(&index) { word(HEADER_BYTES + 2 * index as usize) } else { 0 };
    let mut whole: String = (0..=weight).map(|index| format!("{:04}", group(index))).collect();
    whole = whole.trim_start_matches('0').to_owned();
    let groups_behind = scale.div_ceil(4) as i32;
    // The first group behind the point may lie before the first one that is sent.
    let mut behind: String = (1..=groups_behind).map(|place| format!("{:04}", group(weight + place))).collect();
    behind.truncate(scale);
    let sign = if word(4) == NEGATIVE { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { &whole };
    match behind.is_empty() {
        true => format!("{sign}{whole}"),
        false => format!("{sign}{whole}.{behind}"),
    }
}

/// As the server prints it, what is no number among it.
pub(super) fn text_of_any(bytes: &[u8]) -> String {
    let sign = bytes.get(4..6).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]));
    match sign {
        NAN => "NaN".to_owned(),
        INFINITY => "Infinity".to_owned(),
        MINUS_INFINITY => "-Infinity".to_owned(),
        _ => text(bytes),
    }
}

/// Appends the value, which is `unscaled` / 10^`scale`.
pub(super) fn encode(unscaled: i128, scale: u8, out: &mut BytesMut) {
    let magnitude = unscaled.unsigned_abs();
    let one = 10u128.pow(u32::from(scale));
    let (mut whole, behind) = (magnitude / one, magnitude % one);
    let mut groups: Vec<u16> = Vec::with_capacity(2 * GROUPS_MAX);
    while whole > 0 {
        groups.push((whole % 10_000) as u16);
        whole /= 10_000;
    }
    groups.reverse();
    let mut weight = groups.len() as i16 - 1;
    for place in 0..scale.div_ceil(4) {
        let left = u32::from(scale - 4 * place);
        let group = match left >= 4 {
            true => behind / 10u128.pow(left - 4) % 10_000,
            false => behind % 10u128.pow(left) * 10u128.pow(4 - left),
        };
        groups.push(group as u16);
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let weight = if groups.is_empty() { 0 } else { weight };
    out.put_u16(groups.len() as u16);
    out.put_i16(weight);
    out.put_u16(if unscaled < 0 { NEGATIVE } else { 0 });
    out.put_u16(u16::from(scale));
    groups.iter().for_each(|group| out.put_u16(*group));
}

/// Reads a decimal as JSON writes numbers.
///
/// # Errors
/// It is no number, or has more digits than the decimal.
pub(super) fn parse(written: &str, precision: u8, scale: u8) -> Result<i128, Problem> {
    let wrong = || Problem::OutOfDecimal { value: written.to_owned(), precision, scale };
    let (mantissa, exponent) = match written.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
        None => (written, 0),
    };
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let behind = behind.trim_end_matches('0');
    if whole.is_empty() || !whole.bytes().chain(behind.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let mut digits: i128 = 0;
    for byte in whole.bytes().chain(behind.bytes()) {
        let next = i128::from(byte - b'0');
        digits = digits.checked_mul(10).and_then(|value| value.checked_add(next)).ok_or_else(wrong)?;
    }
    if digits == 0 {
        return Ok(0);
    }
    let places = i32::try_from(behind.len()).map_err(|_| wrong())?;
    let shift = exponent.checked_sub(places).and_then(|value| value.checked_add(i32::from(scale))).ok_or_else(wrong)?;
    let power = 10i128.checked_pow(shift.unsigned_abs()).ok_or_else(wrong)?;
    let magnitude = match shift >= 0 {
        true => digits.checked_mul(power).ok_or_else(wrong)?,
        false if digits % power == 0 => digits / power,
        false => return Err(wrong()),
    };
    match magnitude < 10i128.pow(u32::from(precision)) {
        true => Ok(if is_negative { -magnitude } else { magnitude }),
        false => Err(wrong()),
    }
}

/// Writes a decimal as JSON writes numbers.
pub(super) fn print(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let magnitude = unscaled.unsigned_abs();
    let one = 10u128.pow(u32::from(scale));
    match scale {
        0 => format!("{sign}{magnitude}"),
        scale => format!("{sign}{}.{:0width$}", magnitude / one, magnitude % one, width = usize::from(scale)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(unscaled: i128, precision: u8, scale: u8) -> i128 {
        let mut bytes = BytesMut::new();
        encode(unscaled, scale, &mut bytes);
        decode(&bytes, precision, scale).expect("fits")
    }

    #[test]
    fn every_decimal_survives_the_wire_and_json() {
        let largest = 10i128.pow(38) - 1;
        for scale in 0..=38u8 {
            for unscaled in [0, 1, -1, 9_999, 10_000, -10_001, 123_456_789, 10i128.pow(37), largest, -largest] {
                assert_eq!(there_and_back(unscaled, 38, scale), unscaled, "scale {scale}");
                assert_eq!(parse(&print(unscaled, scale), 38, scale).expect("fits"), unscaled);
            }
        }
    }

    #[test]
    fn digits_that_have_no_place_are_refused_and_named() {
        let mut bytes = BytesMut::new();
        encode(-123_456, 4, &mut bytes);
        assert_eq!(text(&bytes), "-12.3456");
        assert!(matches!(decode(&bytes, 10, 2), Err(Problem::OutOfDecimal { value, .. }) if value == "-12.3456"));
        assert_eq!(decode(&bytes, 10, 6).expect("widens"), -12_345_600);
        assert!(decode(&bytes, 4, 4).is_err());
        let mut small = BytesMut::new();
        encode(7, 9, &mut small);
        assert_eq!(text(&small), "0.000000007");
        let mut large = BytesMut::new();
        encode(120_000, 0, &mut large);
        assert_eq!(text(&large), "120000");
    }

    #[test]
    fn json_numbers_with_exponents_are_exact() {
        assert_eq!(parse("1.5e3", 10, 2).expect("fits"), 150_000);
        assert_eq!(parse("-25E-1", 10, 2).expect("fits"), -250);
        assert_eq!(parse("0e999999999", 10, 2).expect("zero"), 0);
        for wrong in ["1e40", "1.234", "", "-", "1,5", "NaN", "1e", ".5", "1e2147483647"] {
            assert!(parse(wrong, 10, 2).is_err(), "{wrong}");
        }
    }
}
