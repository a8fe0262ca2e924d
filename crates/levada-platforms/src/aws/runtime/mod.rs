//! What all stores of a platform share: the bucket and its key, the catalog's database, one job, one state
//! machine, one group of schedules, and whoever is told when something fails. A file of the root each.

mod alarms;
mod job;
mod key;
mod machine;
mod storage;

pub(super) use alarms::topic;
pub(super) use key::{key, key_user};

use super::roots::{Root, variable};
use super::settings::AwsSettings;
use crate::terraform::{Block, print};
use levada_model::model::PlatformEntry;

/// The state machine, with places for what only Terraform knows.
const MACHINE: &str = include_str!("../machine.asl.json");
/// The program of the job: everything that is done with data.
const PROGRAM: &str = include_str!("../program/levada_job.py");

/// The files of the shared root.
pub(super) fn files(entry: &PlatformEntry, settings: &AwsSettings) -> Vec<(String, String)> {
    let root = Root { entry, settings, folder: "platform".to_owned(), cell: None };
    let platform = entry.name.as_str();
    let mut header = root.header();
    header
        .push(variable("subnet_id", "The subnet, in availability_zone, from which consumers' databases are reached."));
    header.push(variable("availability_zone", "The zone of that subnet."));
    header.push(variable(
        "security_group_id",
        "What lets the job out to consumers' databases, and its workers to each other.",
    ));
    let file = |name: &str, blocks: &[Block]| (format!("platform/{name}.tf"), print(blocks));
    vec![
        file("main", &header),
        file("storage", &storage::storage(platform, settings)),
        file("job", &job::job(settings)),
        file("machine", &machine::machine(settings)),
        file("alarms", &alarms::alarms()),
        ("platform/machine.asl.json".to_owned(), MACHINE.to_owned()),
        ("platform/levada_job.py".to_owned(), PROGRAM.to_owned()),
    ]
}
