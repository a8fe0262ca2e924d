//! `levada init` and `levada schema`: where a new ecosystem starts.

use crate::cli::{Format, ListArgs};
use crate::show;
use anyhow::{Context, Result, bail};

/// The starter: a SQLite producer, a SQLite consumer, one dataset.
const FILES: [(&str, &str); 4] = [
    ("ecosystem.yaml", include_str!("../../starter/ecosystem.yaml")),
    ("zones/home/zone.yaml", include_str!("../../starter/zone.yaml")),
    ("zones/home/teams/first/team.yaml", include_str!("../../starter/team.yaml")),
    ("zones/home/teams/first/shop.yaml", include_str!("../../starter/shop.yaml")),
];

/// Writes the starter; never over a file that is there.
pub fn init(args: &ListArgs) -> Result<bool> {
    let root = &args.dir.dir;
    if root.join("ecosystem.yaml").exists() {
        bail!("{} already has an ecosystem.yaml; `levada check` shows what is in it", root.display());
    }
    if let Some((name, _)) = FILES.iter().find(|(name, _)| root.join(name).exists()) {
        bail!("{} is already there; choose an empty folder", root.join(name).display());
    }
    for (name, text) in FILES {
        let path = root.join(name);
        let folder = path.parent().expect("every file of the starter lies in a folder");
        std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        if args.format == Format::Text {
            show::data(path.display());
        }
    }
    if args.format == Format::Json {
        show::json(&serde_json::json!({ "files": FILES.map(|(name, _)| name) }));
    }
    show::talk(format!("next: levada check {0} && levada graph {0}", root.display()));
    Ok(true)
}

/// Prints the JSON Schema of one document.
pub fn schema() -> bool {
    show::json(&levada_model::json_schema());
    true
}
