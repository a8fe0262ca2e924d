//! A clock that jumps: the worker's, by the library `libfaketime`; what it measures spans with stays.

use std::path::{Path, PathBuf};

/// The clock of a worker.
pub struct Clock {
    file: PathBuf,
    shift_seconds: i64,
}

impl Clock {
    /// A clock that is right, and can be moved; it lies in a file of this folder.
    pub fn new(folder: &Path) -> Self {
        let clock = Self { file: folder.join("clock"), shift_seconds: 0 };
        clock.write();
        clock
    }

    /// What a worker needs in its environment to go by it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// Moves it, back where the number is negative.
    pub fn jump(&mut self, seconds: i64) {
        self.shift_seconds += seconds;
        self.write();
    }

    fn write(&self) {
        // Never half a file: the worker may look at any moment.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{:+}\n", self.shift_seconds)).expect("files can be written");
        std::fs::rename(&next, &self.file).expect("files can be renamed");
    }
}

fn library() -> PathBuf {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(Path::new);
    let below = folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let places = below.map(|entry| entry.path()).chain(folders.map(Path::to_owned));
    let library = places.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file());
    library.expect("this machine has libfaketime: install it with `apt-get install faketime`")
}
