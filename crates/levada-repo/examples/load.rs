fn main() {
    let start = std::time::Instant::now();
    let loaded = levada_repo::load(std::path::Path::new(&std::env::args().nth(1).unwrap())).unwrap();
    for f in loaded.findings.0.iter().take(60) {
        eprintln!(
            "{} {} {:?} {:?}",
            f.code,
            f.message,
            f.hint,
            f.span.and_then(|s| loaded.files.place(s)).map(|p| p.to_string())
        );
    }
    eprintln!("{} stores {} findings {:?}", loaded.model.datastores.len(), loaded.findings.0.len(), start.elapsed());
    let stat = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!("{}", stat.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
