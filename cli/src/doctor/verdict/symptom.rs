//! What was seen: who got which data, for how long.

use super::super::guest::{Look, Page, SeedFound, WorkloadFound};
use super::super::trials::Trials;
use super::ms;
use crate::words::count;

const HELD: &str = "readers that had the file open before";

/// The trials are not whole.
pub fn sentence(trials: &Trials) -> String {
    let native = trials.native.as_ref().ok();
    if let Some(native) = native.filter(|native| !native.is_whole() && native.acknowledged()) {
        return of_seed(native, None);
    }
    if let Some(found) = trials.native_workloads().find(|found| found.bad.is_some()) {
        return of_workload(found);
    }
    let mut steps = trials.steps.iter();
    let step = steps.find_map(|(name, _, found)| {
        let found = found.as_ref().ok()?;
        (!found.is_whole() && found.acknowledged()).then_some((*name, found))
    });
    match (step, &trials.unread) {
        (Some((name, found)), _) => of_seed(found, Some(name)),
        (None, Ok(found)) => of_seed(found, None),
        (None, Err(_)) => String::new(),
    }
}

fn of_seed(found: &SeedFound, step: Option<&str>) -> String {
    let mut torn = found.looks.iter().filter(|look| !look.is_whole());
    // Where data goes bad, the first look that sees it may see a part.
    let torn = match found.worse_after_ns() {
        Some(_) => torn.next_back(),
        None => torn.next(),
    };
    let Some(torn) = torn else {
        return String::new();
    };
    let (who, what) = (who(torn), what(torn));
    let after = match (&found.msync.error, step) {
        (Some(error), _) => format!("msync failed ({error}), the msync after it returned 0, and"),
        (None, Some(step)) => format!("After msync returned 0 ({step}),"),
        (None, None) => "After msync returned 0,".to_owned(),
    };
    if let Some(worse) = found.worse_after_ns() {
        return format!(
            "After msync returned 0 the data was there, and {} later {who} saw {what} again.",
            ms(worse)
        );
    }
    let until = match found.whole_after_ns() {
        // Each look opens the file, after it has asked them.
        Some(_) if who == HELD => "until the file was opened anew".to_owned(),
        Some(whole) => format!("for up to {}", ms(whole)),
        None if found.looked_ns < 100_000_000 => "at once".to_owned(),
        None => format!("and still did after {}", ms(found.looked_ns)),
    };
    format!("{after} {who} saw {what} {until}.")
}

fn who(look: &Look) -> &'static str {
    let torn = |reader: &str| {
        let mut readings = look.readings.iter();
        readings.any(|reading| reading.reader == reader && !reading.is_whole())
    };
    if torn("fresh") {
        "plain readers"
    } else if torn("held") {
        HELD
    } else {
        "readers past the page cache"
    }
}

fn what(look: &Look) -> String {
    let torn = look.readings.iter().filter(|reading| !reading.is_whole());
    let pages: Vec<Page> = torn
        .flat_map(|reading| reading.pages.iter().flatten().copied())
        .collect();
    let count = |wanted: Page| pages.iter().filter(|&&page| page == wanted).count();
    match (count(Page::New), count(Page::Old), count(Page::Other)) {
        (_, _, 1..) => "wrong data".to_owned(),
        (0, _, _) => "old data".to_owned(),
        _ => "old data in some pages and new data in others".to_owned(),
    }
}

fn of_workload(found: &WorkloadFound) -> String {
    let Some(bad) = &found.bad else {
        return String::new();
    };
    let until = match bad.right_after_ns {
        Some(right) => format!("for up to {}", ms(right)),
        None => "and did not get the right data any more".to_owned(),
    };
    format!(
        "After msync returned 0, a reader saw {} at offset {} {until}: store {} of a workload \
         that stores, syncs and reads back at random.",
        count(bad.bytes as u64, "wrong byte"),
        bad.offset,
        found.operations
    )
}
