//! Makes what is modelled: the shim's own source, with at most two threads in a crew, and mutants of
//! it with one defect each. A model that does not find them proves nothing.

use std::path::Path;
use std::{env, fs};

/// Name, source, what stands there, what stands there instead.
const MUTANTS: [(&str, &str, &str, &str); 9] = [
    (
        "group_served_by_the_running_flush",
        "enforce/group.rs",
        "        self.begun.wrapping_add(1)
    }",
        "        self.begun.max(1)
    }",
    ),
    (
        "group_wakes_one_of_all",
        "enforce/group.rs",
        "lock::wake_all(&self.done);",
        "lock::wake_one(&self.done);",
    ),
    (
        "group_sleeps_on_what_it_sees_late",
        "enforce/group.rs",
        "Err(seen) => lock::wait(&self.done, seen),",
        "Err(_) => lock::wait(&self.done, self.done.load(Ordering::Relaxed)),",
    ),
    (
        "crew_forgets_the_news_of_a_job",
        "custodian/crew.rs",
        "            queue.tail = job.as_ptr();
            self.news.fetch_add(1, Ordering::Relaxed);",
        "            queue.tail = job.as_ptr();",
    ),
    (
        "crew_result_is_not_released",
        "custodian/crew.rs",
        "(*done).store(1, Ordering::Release);",
        "(*done).store(1, Ordering::Relaxed);",
    ),
    (
        "crew_job_stays_queued",
        "custodian/crew.rs",
        "if self.head.is_null() {",
        "if !self.head.is_null() {",
    ),
    (
        "crew_order_misses_who_is_hired",
        "custodian/crew.rs",
        "|queue| queue.hiring == 0 && queue.outstanding == 0",
        "|queue| queue.outstanding == 0",
    ),
    (
        "crew_order_does_not_wait",
        "custodian/crew.rs",
        "|queue| queue.outstanding == 0 || queue.number != number",
        "|queue| queue.number == number",
    ),
    (
        "crew_takes_jobs_while_leaving",
        "custodian/crew.rs",
        "(queue.open, queue.leave) = (false, true)",
        "(queue.open, queue.leave) = (true, true)",
    ),
];

fn main() {
    let out = env::var("OUT_DIR").expect("set by cargo");
    println!("cargo::rerun-if-changed=build.rs");
    for (name, source, there, instead) in MUTANTS {
        let text = read(source);
        let found = text.matches(there).count();
        assert_eq!(found, 1, "{name}: {source} has {found} times: {there}");
        write(&out, name, &text.replace(there, instead));
    }
    for (name, source) in [("group", "enforce/group.rs"), ("crew", "custodian/crew.rs")] {
        write(&out, name, &read(source));
    }
}

fn read(source: &str) -> String {
    let path = format!("../src/{source}");
    println!("cargo::rerun-if-changed={path}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn write(directory: &str, name: &str, text: &str) {
    let to = Path::new(directory).join(format!("{name}.rs"));
    // Documentation of a module cannot be included.
    let text: String = text
        .replace("MOST: u32 = 64;", "MOST: u32 = 2;")
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .flat_map(|line| [line, "\n"])
        .collect();
    fs::write(&to, text).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}
