//! Texts of a form of their own: checked and read by the same functions.

use crate::address::DatasetRef;
use crate::codes;
use crate::grammar::{Form, Names};
use crate::model::{LocationRef, Reader};
use crate::name::*;
use crate::{Code, DataType, schedule};

use super::check::shown;

/// Why a text does not have its form.
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) hint: String,
}

/// Checks a name of a family.
pub(super) fn name_fault(names: Names, text: &str) -> Option<Fault> {
    let checked = match names {
        Names::Identifier => DatastoreName::parse(text).map(drop),
        Names::Credential => CredentialName::parse(text).map(drop),
        Names::Label => ZoneName::parse(text).map(drop),
        Names::Column => ColumnName::parse(text).map(drop),
        Names::Free => Ok(()),
    };
    let error = checked.err()?;
    let hint = match names {
        Names::Identifier => "a name starts with a letter and goes on with letters, digits, `_` and `-`",
        Names::Credential => "a credential's name starts with a letter and goes on with letters, digits and `_`",
        Names::Label => "a name is printable text without `/`, and without spaces around it",
        Names::Column | Names::Free => "a column's name is printable text",
    };
    let message = match text {
        "" => error.to_string(),
        _ => format!("`{}` can't be a name: {error}", shown(text)),
    };
    Some(Fault { code: codes::NOT_A_NAME, message, hint: hint.to_owned() })
}

/// What a form is, in a message, and an example.
pub(super) fn form_words(form: Form) -> (&'static str, &'static str) {
    match form {
        Form::Period => ("a length of time", "30d"),
        Form::Bytes => ("an amount of bytes", "512MB"),
        Form::Date => ("a date", "2026-05-01"),
        Form::Cron => ("a cron expression of five fields", "*/10 * * * *"),
        Form::TimeZone => ("a time zone", "Europe/Lisbon"),
        Form::DataType => ("a type", "varchar(40)"),
        Form::Location => ("a location", "azure:us/east"),
        Form::DatasetRef => ("a dataset", "STORE.DATASET"),
        Form::Consumer => ("a workspace or group", "WORKSPACE or WORKSPACE/GROUP"),
        Form::GroupRef => ("a group", "WORKSPACE/GROUP"),
        Form::Reader => ("a reader", "role:NAME or user:NAME"),
        Form::HostPort => ("a host and port", "broker1.example:9092"),
    }
}

/// Checks a text of a form.
pub(super) fn form_fault(form: Form, text: &str) -> Option<Fault> {
    let is_fit = match form {
        Form::Period => text.parse::<crate::period::Period>().is_ok(),
        Form::Bytes => bytes(text).is_some(),
        Form::Date => schedule::parse_date(text).is_some(),
        Form::Location => location(text).is_some(),
        Form::DatasetRef => text.parse::<DatasetRef>().is_ok(),
        Form::Consumer => is_consumer(text),
        Form::GroupRef => group_ref(text).is_some(),
        Form::Reader => reader(text).is_some(),
        Form::HostPort => is_host_port(text),
        Form::Cron => return schedule::parse_cron(text).err().map(|error| schedule_fault(&error)),
        Form::TimeZone => return schedule::parse_time_zone(text).err().map(|error| schedule_fault(&error)),
        Form::DataType => return type_fault(text),
    };
    let (what, example) = form_words(form);
    (!is_fit).then(|| Fault {
        code: codes::WRONG_VALUE,
        message: format!("`{}` is not {what}", shown(text)),
        hint: format!("write it like {example}"),
    })
}

fn schedule_fault(error: &schedule::ScheduleError) -> Fault {
    Fault { code: codes::WRONG_SCHEDULE, message: shown_all(&error.to_string()), hint: error.hint().to_owned() }
}

fn type_fault(text: &str) -> Option<Fault> {
    let error = text.parse::<DataType>().err()?;
    let hint = error.hint();
    let message = format!("`{}` is not a type: {}", shown(text), shown_all(&error.to_string()));
    let message = match &error {
        crate::data_type::DataTypeError::Unknown(name, _) if name == text => format!("`{}` is not a type", shown(text)),
        _ => message,
    };
    Some(Fault { code: codes::WRONG_TYPE, message, hint })
}

/// The same text in one line.
fn shown_all(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// `512`, `512B`, `10kB`, `10MB`, `2GB`, `1TB`; powers of 1000, and `KiB`, `MiB`, `GiB`, `TiB`, of 1024.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let factor = match text[digits..].trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

/// A number of thousandths, from a number with at most three digits behind the point.
pub(super) fn cost_milli(text: &str) -> Option<u64> {
    let (whole, behind) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(behind) || behind.len() > 3 {
        return None;
    }
    let thousandths = behind.parse::<u64>().ok()? * 10_u64.pow(3 - u32::try_from(behind.len()).ok()?);
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths)
}

/// `VENDOR:path/below`, or `VENDOR` alone.
pub(super) fn location(text: &str) -> Option<LocationRef> {
    let (vendor, path) = text.split_once(':').unwrap_or((text, ""));
    let are_names = path.is_empty() || path.split('/').all(|part| ZoneName::parse(part).is_ok());
    let has_path = path.is_empty() != text.contains(':');
    (are_names && has_path).then_some(())?;
    Some(LocationRef { vendor: VendorName::parse(vendor).ok()?, path: path.to_owned() })
}

fn is_consumer(text: &str) -> bool {
    WorkspaceName::parse(text).is_ok() || group_ref(text).is_some()
}

/// `WORKSPACE/GROUP`
pub(super) fn group_ref(text: &str) -> Option<(WorkspaceName, GroupName)> {
    let (workspace, group) = text.split_once('/')?;
    Some((WorkspaceName::parse(workspace).ok()?, GroupName::parse(group).ok()?))
}

/// `role:NAME` or `user:NAME`; the name is whatever the container's system allows.
pub(super) fn reader(text: &str) -> Option<Reader> {
    let (kind, name) = text.split_once(':')?;
    let is_name = !name.is_empty() && name.trim() == name && ColumnName::parse(name).is_ok();
    is_name.then_some(())?;
    match kind {
        "role" => Some(Reader::Role(name.to_owned())),
        "user" => Some(Reader::User(name.to_owned())),
        _ => None,
    }
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_costs_are_exact() {
        assert_eq!(bytes("10GB"), Some(10_000_000_000));
        assert_eq!(bytes("2 MiB"), Some(2 << 20));
        assert_eq!(bytes("18446744073709551615kB"), None);
        assert_eq!((bytes("10"), bytes("GB"), bytes("-1GB")), (None, None, None));
        assert_eq!(cost_milli("1.25"), Some(1_250));
        assert_eq!(cost_milli("2"), Some(2_000));
        assert_eq!((cost_milli("1.2345"), cost_milli("-1"), cost_milli(".5")), (None, None, None));
    }

    #[test]
    fn locations_name_a_vendor_and_perhaps_a_path() {
        assert_eq!(location("azure:us/east").map(|location| location.to_string()).as_deref(), Some("azure:us/east"));
        assert_eq!(location("azure").map(|location| location.path).as_deref(), Some(""));
        assert!(location("azure:").is_none() && location(":us").is_none() && location("azure:us//x").is_none());
    }
}
