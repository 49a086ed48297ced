mod expect; mod observe; mod silence;
use expect::*; use observe::*;
use preload_tests::harness::TearFs;

#[test]
fn explore() {
    let effort = Effort::of_this_run();
    let modes = std::env::var("MODES").unwrap_or("honest volatile first-page one-page stale-window early-ack drop-tail lossy-first reorder eio-once silent-eio black-hole twin-inode".into());
    let cols = std::env::var("COLS").unwrap_or("012".into());
    for mode in modes.split(' ') {
        for v in &VARIANTS {
            let t = std::time::Instant::now();
            let mut line = format!("{mode:13} {:16}", v.title);
            let mut torn = String::new();
            for (ci, c) in Column::ALL.into_iter().enumerate() {
                if !cols.contains(&ci.to_string()) { continue }
                line += " | ";
                for g in Guest::ALL {
                    let r = std::panic::catch_unwind(|| observe(mode, v, c, g, effort));
                    match r { Ok(f) => { for x in &f { line += x.word(); line += " ";
                        if c == Column::Verified { if let Found::Torn(w) = x { torn += w; torn += "\n"; } } } }
                      Err(_) => line += "PANIC " }
                }
            }
            eprintln!("{line} {:.1}s", t.elapsed().as_secs_f64());
            if !torn.is_empty() { eprintln!("{torn}"); }
        }
    }
    let _ = TearFs::available();
}
