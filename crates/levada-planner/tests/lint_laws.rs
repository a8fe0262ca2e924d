//! What lint finds that only shows in models of a certain form.

use crate::models::Builder;
use crate::platforms::registry;
use levada_model::connection::{ContainerKind, Place};
use levada_model::model::Style;
use levada_model::{Finding, Model};
use levada_planner::lint;

/// The findings of one code.
fn found(model: &Model, code: &str) -> Vec<Finding> {
    lint(model, &registry()).0.into_iter().filter(|finding| finding.code.0 == code).collect()
}

fn in_container(kind: ContainerKind) -> Builder {
    Builder::new().platform("P", Style::Forensic).container("source").container_with("C", |container| {
        container.connection.kind = kind;
        if kind != ContainerKind::Postgres {
            container.connection.place = Place::Path { path: "data".to_owned() };
        }
    })
}

#[test]
fn views_of_two_workspaces_collide_where_a_container_has_no_schemas() {
    let model = |kind| {
        let stores = in_container(kind).store("b__c", "source", &["d"]).store("c", "source", &["d"]);
        stores
            .workspace("a", "C")
            .group("G", None, &["b__c.d"])
            .workspace("a__b", "C")
            .group("G", None, &["c.d"])
            .build()
    };
    let collisions = found(&model(ContainerKind::Sqlite), "E-VIEW-001");
    assert_eq!(collisions.len(), 1);
    assert!(collisions[0].message.contains("\"a__b__c_d\""), "{}", collisions[0].message);
    assert!(found(&model(ContainerKind::Postgres), "E-VIEW-001").is_empty(), "schemas keep them apart");
}

#[test]
fn views_collide_only_where_somebody_asks_for_them() {
    let model = |kind, terms| {
        let stores = in_container(kind).store("S", "source", &["d", "d_history"]);
        stores.workspace("W", "C").group("G", Some(terms), &["S.d", "S.d_history"]).build()
    };
    assert!(found(&model(ContainerKind::Postgres, "hours live 1d"), "E-VIEW-001").is_empty());
    assert_eq!(found(&model(ContainerKind::Postgres, "hours both 1d"), "E-VIEW-001").len(), 1);
    assert!(
        found(&model(ContainerKind::Files, "hours both 1d"), "E-VIEW-001").is_empty(),
        "folders have no flat names"
    );
}

#[test]
fn a_server_of_mysql_has_names_of_its_own() {
    for kind in [ContainerKind::Mysql, ContainerKind::Mariadb] {
        let model = |workspace: &str, dataset: &str| {
            let store = in_container(kind).store("S", "source", &[dataset]);
            store.workspace(workspace, "C").group("G", None, &[&format!("S.{dataset}")]).build()
        };
        for taken in ["mysql", "SYS", "information_schema", "levada"] {
            assert_eq!(found(&model(taken, "d"), "E-VIEW-002").len(), 1, "{taken}");
        }
        assert!(found(&model("W", "d"), "E-VIEW-002").is_empty());
        assert!(found(&model("W", &"d".repeat(62)), "E-VIEW-003").is_empty(), "s_ and 62 more");
        assert_eq!(found(&model("W", &"d".repeat(63)), "E-VIEW-003").len(), 1);
    }
}
