//! Scalars into values of one simple type: exactly, or a sentence that says why not.

use super::{Scalar, calendar, unhex};

/// Why a scalar is not the value: fits after "is no TYPE: ".
pub(super) type Parsed<T> = Result<T, &'static str>;

pub(super) fn boolean(scalar: &Scalar<'_>) -> Parsed<bool> {
    let wrong = "it is none of 0, 1, true, false";
    match scalar {
        Scalar::Integer(0) => Ok(false),
        Scalar::Integer(1) => Ok(true),
        Scalar::Text(text) if text == "0" || text.eq_ignore_ascii_case("false") || text == "f" => Ok(false),
        Scalar::Text(text) if text == "1" || text.eq_ignore_ascii_case("true") || text == "t" => Ok(true),
        _ => Err(wrong),
    }
}

/// A whole number between both bounds.
pub(super) fn integer(scalar: &Scalar<'_>, least: i64, greatest: i64) -> Parsed<i64> {
    let number = match scalar {
        Scalar::Integer(number) => *number,
        Scalar::Real(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => *number as i64,
        Scalar::Text(text) => text.parse().map_err(|_| "it is not a whole number of 64 bits")?,
        _ => return Err("it is not a whole number"),
    };
    (least..=greatest).contains(&number).then_some(number).ok_or("it is out of range")
}

pub(super) fn float64(scalar: &Scalar<'_>) -> Parsed<f64> {
    match scalar {
        Scalar::Real(number) => Ok(*number),
        Scalar::Integer(number) if number.unsigned_abs() <= 1 << 53 => Ok(*number as f64),
        Scalar::Integer(_) => Err("a float64 can't hold all its digits"),
        Scalar::Text(text) => float_text(text, "a float64 can't hold all its digits"),
        _ => Err("it is not a number"),
    }
}

/// A float64 that is a float32 too.
pub(super) fn float32(scalar: &Scalar<'_>) -> Parsed<f32> {
    if let Scalar::Text(text) = scalar {
        return float_text(text, "a float32 can't hold all its digits");
    }
    let wide = float64(scalar)?;
    let narrow = wide as f32;
    let is_same = f64::from(narrow) == wide || wide.is_nan() || shortest_is_same(wide, narrow);
    is_same.then_some(narrow).ok_or("a float32 can't hold all its digits")
}

/// A float of either size.
pub(crate) trait Float: std::str::FromStr + std::fmt::LowerExp {
    /// So many decimal digits always survive, within [`EXPONENTS_SAFE`].
    const DIGITS_SAFE: u32;
}
impl Float for f32 {
    const DIGITS_SAFE: u32 = f32::DIGITS;
}
impl Float for f64 {
    const DIGITS_SAFE: u32 = f64::DIGITS;
}

/// Powers of ten that are far from the ends of both sizes.
const EXPONENTS_SAFE: std::ops::RangeInclusive<i64> = -30..=30;

/// The float nearest to a written number, where it gives all written digits back: 0.1 is one,
/// 1e999 and 0.12345678901234567890 are none.
pub(crate) fn written_float<F: Float>(text: &str) -> Option<F> {
    let (digits, exponent) = significant(text)?;
    let value: F = text.parse().ok()?;
    // Most numbers need no second look.
    if digits.len() <= F::DIGITS_SAFE as usize && EXPONENTS_SAFE.contains(&exponent) {
        return Some(value);
    }
    let printed = format!("{value:.*e}", digits.len().saturating_sub(1));
    let is_same = digits.is_empty() || significant(&printed) == Some((digits, exponent));
    is_same.then_some(value)
}

/// The digits of a written number between its outer zeros, none for zero, and the power of ten of
/// the first one; `None`: it is no number in digits.
fn significant(text: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let zeros = all.len() - all.trim_start_matches('0').len();
    let first = i64::from(exponent.parse::<i32>().ok()?) + whole.len() as i64 - zeros as i64 - 1;
    Some((all.trim_matches('0').to_owned(), first))
}

/// Numbers, and the words for infinity and NaN.
fn float_text<F: Float>(text: &str, inexact: &'static str) -> Parsed<F> {
    let wrong = "it is not a number";
    match text.bytes().any(|byte| byte.is_ascii_digit()) {
        true => significant(text).ok_or(wrong).and_then(|_| written_float(text).ok_or(inexact)),
        false => text.parse().map_err(|_| wrong),
    }
}

/// Whether both print the same shortest digits, as 0.1 does in both sizes.
fn shortest_is_same(wide: f64, narrow: f32) -> bool {
    wide.is_finite() && format!("{wide}") == format!("{narrow}")
}

/// The unscaled number of a decimal. A real is taken by its shortest digits: 0.1 is 0.1.
pub(super) fn decimal(scalar: &Scalar<'_>, precision: u8, scale: u8) -> Parsed<i128> {
    match scalar {
        Scalar::Integer(number) => decimal_text(&number.to_string(), precision, scale),
        Scalar::Real(number) if number.is_finite() => decimal_text(&number.to_string(), precision, scale),
        Scalar::Real(_) => Err("it is not finite"),
        Scalar::Text(text) => decimal_text(text, precision, scale),
        _ => Err("it is not a number"),
    }
}

fn decimal_text(text: &str, precision: u8, scale: u8) -> Parsed<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().map_err(|_| "it is not a number")?),
        None => (text, 0),
    };
    let (is_negative, unsigned) = match mantissa.as_bytes().first() {
        Some(b'-') => (true, &mantissa[1..]),
        Some(b'+') => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
        return Err("it is not a number");
    }
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_end_matches('0');
    // The value is `trimmed` × 10^shift in units of the scale.
    let shift = i64::from(scale) + i64::from(exponent) - fraction.len() as i64 + (digits.len() - trimmed.len()) as i64;
    let significant = trimmed.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    if shift < 0 {
        return Err("it has more digits behind the point");
    }
    if significant.len() as i64 + shift > i64::from(precision) {
        return Err("it has more digits");
    }
    let power = u32::try_from(shift).expect("at most the precision");
    let unscaled = significant.parse::<i128>().expect("at most 38 digits") * 10_i128.pow(power);
    Ok(if is_negative { -unscaled } else { unscaled })
}

/// Days since 1970-01-01; a time of midnight behind the date is forgiven.
pub(super) fn date(scalar: &Scalar<'_>) -> Parsed<i32> {
    let Scalar::Text(text) = scalar else {
        return Err("it is not text such as 2026-02-28");
    };
    let days = match calendar::parse_timestamp(text) {
        Some((micros, None)) if micros.rem_euclid(86_400_000_000) == 0 => Some(micros.div_euclid(86_400_000_000)),
        Some(_) => return Err("it has a time of day"),
        None => calendar::parse_date(text),
    };
    days.and_then(|days| i32::try_from(days).ok()).ok_or("it is not written as 2026-02-28")
}

/// µs since midnight.
pub(super) fn time(scalar: &Scalar<'_>) -> Parsed<i64> {
    match scalar {
        Scalar::Text(text) => calendar::parse_time(text).ok_or("it is not written as 13:05:00.123456"),
        _ => Err("it is not text such as 13:05:00"),
    }
}

/// µs since 1970-01-01, without a zone.
pub(super) fn timestamp(scalar: &Scalar<'_>) -> Parsed<i64> {
    match timestamp_and_offset(scalar)? {
        (micros, None) => Ok(micros),
        (_, Some(_)) => Err("it has a time zone; the type for that is timestamptz"),
    }
}

/// µs since 1970-01-01T00:00:00Z; text without an offset is UTC.
pub(super) fn timestamptz(scalar: &Scalar<'_>) -> Parsed<i64> {
    let (micros, offset) = timestamp_and_offset(scalar)?;
    micros.checked_sub(offset.unwrap_or(0)).ok_or("it is out of range")
}

fn timestamp_and_offset(scalar: &Scalar<'_>) -> Parsed<(i64, Option<i64>)> {
    match scalar {
        Scalar::Text(text) => calendar::parse_timestamp(text).ok_or("it is not written as 2026-02-28 13:05:00.123456"),
        _ => Err("it is not text such as 2026-02-28 13:05:00; for counted seconds read a view that formats them"),
    }
}

/// int32 months, int32 days, int64 µs, little-endian.
pub(super) fn interval(scalar: &Scalar<'_>) -> Parsed<[u8; 16]> {
    let Scalar::Text(text) = scalar else {
        return Err("it is not an ISO 8601 duration such as P1Y2M3DT4H5M6S");
    };
    let (months, days, micros) =
        calendar::parse_interval(text).ok_or("it is not an ISO 8601 duration such as P1Y2M3DT4H5M6S")?;
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&months.to_le_bytes());
    bytes[4..8].copy_from_slice(&days.to_le_bytes());
    bytes[8..].copy_from_slice(&micros.to_le_bytes());
    Ok(bytes)
}

pub(super) fn uuid(scalar: &Scalar<'_>) -> Parsed<[u8; 16]> {
    let wrong = "it is neither 16 bytes nor 32 hexadecimal digits";
    match scalar {
        Scalar::Bytes(bytes) => bytes.as_ref().try_into().map_err(|_| wrong),
        Scalar::Text(text) => {
            let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
            let is_dashed = bare.len() == 36 && [8, 13, 18, 23].iter().all(|at| bare.as_bytes()[*at] == b'-');
            let digits = if is_dashed { bare.replace('-', "") } else { bare.to_owned() };
            unhex(&digits).and_then(|bytes| bytes.try_into().ok()).ok_or(wrong)
        }
        _ => Err(wrong),
    }
}

/// A text of at most so many characters, trailing blanks not counted where the type pads.
pub(super) fn text<'s>(scalar: &'s Scalar<'_>, chars_max: Option<u32>, is_padded: bool) -> Parsed<&'s str> {
    let Scalar::Text(text) = scalar else {
        return Err("it is not text");
    };
    let counted = if is_padded { text.trim_end_matches(' ') } else { text };
    match chars_max {
        Some(most) if counted.len() > most as usize && counted.chars().count() > most as usize => Err("it is longer"),
        _ => Ok(text),
    }
}

pub(super) fn json<'s>(scalar: &'s Scalar<'_>) -> Parsed<&'s str> {
    let text = text(scalar, None, false)?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| text).map_err(|_| "it is not valid JSON")
}

pub(super) fn bytes<'s>(scalar: &'s Scalar<'_>) -> Parsed<&'s [u8]> {
    match scalar {
        Scalar::Bytes(bytes) => Ok(bytes),
        _ => Err("it is not bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Scalar<'_> {
        Scalar::Text(text.into())
    }

    #[test]
    fn a_decimal_is_exact_or_refused() {
        assert_eq!(decimal(&Scalar::Real(0.1), 10, 2), Ok(10));
        assert_eq!(decimal(&Scalar::Real(-1234.5), 10, 2), Ok(-123_450));
        assert_eq!(decimal(&Scalar::Real(0.1 + 0.2), 10, 2), Err("it has more digits behind the point"));
        assert_eq!(decimal(&Scalar::Integer(7), 3, 2), Ok(700));
        assert_eq!(decimal(&Scalar::Integer(17), 3, 2), Err("it has more digits"));
        assert_eq!(decimal(&written("1.2e3"), 6, 2), Ok(120_000));
        assert_eq!(decimal(&written("00012.3400"), 4, 2), Ok(1_234));
        assert_eq!(decimal(&written("99999999999999999999999999999999999999"), 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(decimal(&written("-0.0"), 38, 38), Ok(0));
        for text in ["", ".", "-", "1,5", "NaN", "1e99999", "0x1", "１"] {
            assert!(decimal(&written(text), 38, 2).is_err(), "{text}");
        }
    }

    #[test]
    fn a_written_float_gives_its_digits_back_or_is_refused() {
        for text in ["0.1", "-1.50", "1e23", "5e-324", "1.7976931348623157E+308", "-0.0", "0e99", "9007199254740992"] {
            assert_eq!(
                float64(&written(text)).map(f64::to_bits),
                Ok(text.parse::<f64>().expect(text).to_bits()),
                "{text}"
            );
        }
        assert_eq!(float64(&written(&f64::MAX.to_string())), Ok(f64::MAX));
        assert_eq!(float64(&written("-inf")), Ok(f64::NEG_INFINITY));
        for text in ["1e999", "1e-999", "9007199254740993", "0.12345678901234567890"] {
            assert_eq!(float64(&written(text)), Err("a float64 can't hold all its digits"), "{text}");
        }
        assert_eq!(float32(&written("3.4028235e38")), Ok(f32::MAX));
        assert_eq!(float32(&written("1.23456789012345678")), Err("a float32 can't hold all its digits"));
        for text in ["", ".", "1e", "1e99999999999", "0x1", "１"] {
            assert_eq!(float64(&written(text)), Err("it is not a number"), "{text}");
        }
    }

    #[test]
    fn integers_stay_in_their_type() {
        assert_eq!(integer(&Scalar::Integer(127), -128, 127), Ok(127));
        assert_eq!(integer(&Scalar::Integer(128), -128, 127), Err("it is out of range"));
        assert_eq!(integer(&Scalar::Real(3.0), 0, 9), Ok(3));
        assert!(integer(&Scalar::Real(3.5), 0, 9).is_err());
        assert!(integer(&Scalar::Real(1e300), i64::MIN, i64::MAX).is_err());
        assert!(integer(&Scalar::Bytes(b"1".into()), 0, 9).is_err());
    }

    #[test]
    fn uuids_are_text_or_bytes() {
        let text = "00112233-4455-6677-8899-aabbccddeeFF";
        let bytes = uuid(&written(text)).expect("a uuid");
        assert_eq!(uuid(&Scalar::Bytes(bytes.as_slice().into())), Ok(bytes));
        assert_eq!(uuid(&written("{00112233445566778899aabbccddeeff}")), Ok(bytes));
        assert!(uuid(&written("0011-22334455-6677-8899-aabbccddeeff")).is_err());
    }

    #[test]
    fn a_text_counts_characters_and_not_bytes() {
        assert!(text(&written("äöüß€"), Some(5), false).is_ok());
        assert!(text(&written("abcdef"), Some(5), false).is_err());
        assert!(text(&written("abc   "), Some(3), true).is_ok());
        assert!(text(&written("abc "), Some(3), false).is_err());
    }
}
