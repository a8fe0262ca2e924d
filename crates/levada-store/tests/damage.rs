//! Segments that are not what was written.

use crate::fixture::{Row, Stand, long_text, row, schema};
use levada_flow::source::Coverage;
use levada_flow::{FlowError, Retry};
use levada_store::{Reading, Store};
use proptest::prelude::*;
use std::path::PathBuf;

/// A store with one batch in a file.
async fn stand() -> (Stand, String, PathBuf) {
    let mut stand = Stand::new().await;
    let rows: Vec<Row> = (0..20).map(|key| row(key, &long_text(1)[..1_500], 1)).collect();
    stand.pull(&schema(true), &rows, Coverage::Complete).await.expect("pulls");
    stand.pull(&schema(true), &[row(1, &long_text(1), 1)], Coverage::Upserts).await.expect("pulls");
    let file = stand.files().remove(0);
    let path = stand.folder.path().join("data").join(&file);
    (stand, file, path)
}

/// Reads as a new process would.
async fn error(stand: &Stand, reading: Reading) -> FlowError {
    let store = Store::open(stand.state.clone(), stand.folder.path().join("data")).expect("opens");
    let rows = store.read(&stand.dataset, &schema(true), reading).await.expect("the catalog is well");
    let rows: Result<Vec<_>, _> = futures::TryStreamExt::try_collect(rows).await;
    rows.expect_err("the file is damaged")
}

fn damaged(change: impl Fn(&mut Vec<u8>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (stand, file, path) = stand().await;
        let mut bytes = std::fs::read(&path).expect("it is there");
        change(&mut bytes);
        std::fs::write(&path, &bytes).expect("writes");
        for reading in [
            Reading::Live { as_of: None },
            Reading::Changes { after: 0, up_to: None },
            Reading::History { as_of: None, since: None },
        ] {
            let error = error(&stand, reading).await;
            assert!(error.message.contains(&file) && error.message.contains("damaged"), "{}", error.chain());
            assert_eq!(error.retry, Retry::Never);
            assert!(error.hint.is_some());
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_truncated_segment_is_an_error_that_names_it(keep in any::<proptest::sample::Index>()) {
        damaged(|bytes| bytes.truncate(keep.index(bytes.len())));
    }

    #[test]
    fn a_flipped_bit_is_an_error_that_names_the_segment(at in any::<proptest::sample::Index>(), bit in 0..8_u32) {
        damaged(|bytes| {
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
        });
    }
}

#[tokio::test]
async fn a_missing_segment_is_an_error_that_names_it() {
    let (stand, file, path) = stand().await;
    std::fs::remove_file(path).expect("it was there");
    let error = error(&stand, Reading::Live { as_of: None }).await;
    assert!(error.message.contains(&file), "{}", error.chain());
}

#[tokio::test]
async fn a_damaged_segment_fails_the_next_pull_too() {
    let (mut stand, file, path) = stand().await;
    std::fs::write(&path, b"PAR1").expect("writes");
    stand.store = Store::open(stand.state.clone(), stand.folder.path().join("data")).expect("opens");
    let error = stand.pull(&schema(true), &[row(1, "b", 2)], Coverage::Complete).await.expect_err("it can't compare");
    assert!(error.to_string().contains(&file), "{error}");
}
