//! Values that snapshots let the server print or cast, from their binary form: the change log has no
//! casts. Pure.

use crate::postgres::numeric;
use crate::postgres::types::{Problem, Reading, reading};
use levada_model::DataType;
use postgres_types::{Kind, Type};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Makes of a value's own binary form the one that its column is read from.
pub(super) type Render = fn(&[u8]) -> Result<Cow<'_, [u8]>, Problem>;

/// How a column of the change log is read: as a query's column would be, and what the server's cast is
/// replaced by.
#[derive(Clone, Debug)]
pub(super) struct LogReading {
    pub(super) reading: Reading,
    pub(super) render: Option<Render>,
}

/// How a column of this type is read as the model's type from the change log; `None` where it can't be.
pub(super) fn log_reading(model: &DataType, pg_type: &Type) -> Option<LogReading> {
    let reading = reading(model, pg_type)?;
    let render = match reading.cast {
        "" => None,
        cast => Some(render(cast, pg_type)?),
    };
    Some(LogReading { reading, render })
}

fn render(cast: &str, pg_type: &Type) -> Option<Render> {
    if let Kind::Domain(base) = pg_type.kind() {
        return render(cast, base);
    }
    let render: Render = match (cast, pg_type.name()) {
        ("::text", "numeric") => |bytes| Ok(text(numeric::text_of_any(bytes))),
        ("::text", "uuid") => uuid,
        ("::text", "citext") => |bytes| Ok(Cow::Borrowed(bytes)),
        // No character is the byte zero.
        ("::text", "char") => |bytes| Ok(Cow::Borrowed(if bytes == [0] { &[] } else { bytes })),
        ("::text", "ltree") => |bytes| bytes.get(1..).map(Cow::Borrowed).ok_or(Problem::Malformed),
        ("::text", "bit" | "varbit") => bits,
        ("::text", "inet" | "cidr") => address,
        ("::text", "macaddr" | "macaddr8") => hardware_address,
        ("::text", "pg_lsn") => |bytes| {
            let place = u64::from_be_bytes(fixed(bytes)?);
            Ok(text(format!("{:X}/{:X}", place >> 32, place & 0xFFFF_FFFF)))
        },
        ("::bigint", "oid") => {
            |bytes| Ok(Cow::Owned(u64::from(u32::from_be_bytes(fixed(bytes)?)).to_be_bytes().to_vec()))
        }
        ("::real[]", "vector") => vector,
        _ => return None,
    };
    Some(render)
}

fn text(text: String) -> Cow<'static, [u8]> {
    Cow::Owned(text.into_bytes())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Problem> {
    bytes.try_into().map_err(|_| Problem::Malformed)
}

fn uuid(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let hex = hexadecimal(&fixed::<16>(bytes)?);
    Ok(text([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes everything");
        text
    })
}

/// An int32 count of bits, then the bits.
fn bits(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let (count, bytes) = bytes.split_first_chunk::<4>().ok_or(Problem::Malformed)?;
    let count = u32::from_be_bytes(*count) as usize;
    if bytes.len() != count.div_ceil(8) {
        return Err(Problem::Malformed);
    }
    let bit = |at: usize| if bytes[at / 8] & (0x80 >> (at % 8)) == 0 { b'0' } else { b'1' };
    Ok(Cow::Owned((0..count).map(bit).collect()))
}

/// Family, bits of the network, whether it is a cidr, length, address. The server's cast prints the bits
/// always, other than its output.
fn address(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let [_, bits, _, length, address @ ..] = bytes else { return Err(Problem::Malformed) };
    let printed = match length {
        4 => Ipv4Addr::from(fixed::<4>(address)?).to_string(),
        16 => address_v6(Ipv6Addr::from(fixed::<16>(address)?)),
        _ => return Err(Problem::Malformed),
    };
    Ok(text(format!("{printed}/{bits}")))
}

/// As the server prints it: where only the last 32 bits are set, and not only the last 16, they print as
/// an IPv4 address.
fn address_v6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = address.octets();
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_string(),
    }
}

fn hardware_address(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    if !matches!(bytes.len(), 6 | 8) {
        return Err(Problem::Malformed);
    }
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(text(parts.join(":")))
}

/// The extension pgvector: an int16 count, two bytes of nothing, float4 values; as an array of real.
fn vector(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let (count, rest) = bytes.split_first_chunk::<2>().ok_or(Problem::Malformed)?;
    let (count, values) = (u16::from_be_bytes(*count), rest.get(2..).ok_or(Problem::Malformed)?);
    if values.len() != 4 * usize::from(count) {
        return Err(Problem::Malformed);
    }
    let mut array = Vec::with_capacity(20 + 8 * usize::from(count));
    for word in [1, 0, Type::FLOAT4.oid(), u32::from(count), 1] {
        array.extend_from_slice(&word.to_be_bytes());
    }
    for value in values.chunks_exact(4) {
        array.extend_from_slice(&4_u32.to_be_bytes());
        array.extend_from_slice(value);
    }
    Ok(Cow::Owned(array))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(cast: &str, pg_type: &Type, bytes: &[u8]) -> String {
        let render = render(cast, pg_type).expect("the type is rendered");
        String::from_utf8(render(bytes).expect("the bytes are right").into_owned()).expect("a text")
    }

    #[test]
    fn values_print_as_the_server_prints_them() {
        assert_eq!(rendered("::text", &Type::INET, &[2, 24, 0, 4, 10, 1, 2, 3]), "10.1.2.3/24");
        assert_eq!(rendered("::text", &Type::INET, &[2, 32, 0, 4, 10, 1, 2, 3]), "10.1.2.3/32");
        assert_eq!(rendered("::text", &Type::CIDR, &[2, 32, 1, 4, 10, 1, 2, 3]), "10.1.2.3/32");
        assert_eq!(rendered("::text", &Type::VARBIT, &[0, 0, 0, 10, 0b1010_0000, 0b0100_0000]), "1010000001");
        assert_eq!(rendered("::text", &Type::MACADDR, &[8, 0, 0x2b, 1, 2, 3]), "08:00:2b:01:02:03");
        assert_eq!(rendered("::text", &Type::PG_LSN, &0x16_B374_D848_u64.to_be_bytes()), "16/B374D848");
        let uuid = 0x1234_5678_9abc_def0_1122_3344_5566_7788_u128.to_be_bytes();
        assert_eq!(rendered("::text", &Type::UUID, &uuid), "12345678-9abc-def0-1122-334455667788");
    }

    #[test]
    fn what_only_the_server_can_print_is_not_read() {
        let text = DataType::Text;
        assert!(log_reading(&text, &Type::TS_VECTOR).is_none() && log_reading(&text, &Type::INT4_RANGE).is_none());
        assert!(log_reading(&text, &Type::NUMERIC).is_some());
    }
}
