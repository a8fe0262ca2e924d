//! Datastores in folders of files: patterns, options, names in paths.

use super::{Context, codes};
use levada_model::file_options::{ReadOptions, is_path_part, pattern_problem};
use levada_model::model::{Datastore, Ingest, IngestKind, Origin};
use levada_model::{Address, Finding, Findings};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    for store in &context.model.datastores {
        let Origin::Container { ingest, .. } = &store.origin else { continue };
        let IngestKind::Files { pattern, format, options, .. } = &ingest.kind else { continue };
        self::pattern(store, ingest, pattern, findings);
        tables(store, findings);
        if let Err(error) = ReadOptions::parse(*format, options) {
            let finding = Finding::error(codes::FILE_OPTION, error.problem).at(ingest.span);
            let finding = finding.about(Address::Datastore(store.name.clone()));
            findings.push(Finding { hint: error.hint, ..finding });
        }
    }
}

fn pattern(store: &Datastore, ingest: &Ingest, pattern: &str, findings: &mut Findings) {
    let problem = match pattern_problem(pattern) {
        None if store.datasets.len() > 1 && !pattern.contains("{dataset}") => {
            Some("gives all datasets the same files".to_owned())
        }
        problem => problem.map(str::to_owned),
    };
    let Some(problem) = problem else { return };
    let finding = Finding::error(codes::FILE_PATTERN, format!("the pattern {pattern:?} {problem}")).at(ingest.span);
    let hint = "for example `{dataset}/*.csv`, from the container's folder";
    findings.push(finding.about(Address::Datastore(store.name.clone())).hint(hint));
}

fn tables(store: &Datastore, findings: &mut Findings) {
    for dataset in &store.datasets {
        let Some(table) = dataset.table.as_deref().filter(|table| !table.is_empty() && !is_path_part(table)) else {
            continue;
        };
        let message = format!("{table:?} can't stand for {{dataset}} in a path");
        let finding = Finding::error(codes::TABLE_NAME, message).at(dataset.span);
        let about = Address::Dataset(store.name.clone(), dataset.name.clone());
        findings.push(finding.about(about).hint("put the folders into the ingest's `pattern`"));
    }
}
