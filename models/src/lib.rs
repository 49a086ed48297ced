//! The shim's group commit and its custodian's crew, run by a model checker (loom): every order in
//! which threads can take their steps, up to a number of preemptions, and every value that a load
//! may give under the C11 memory model.
//!
//! What is checked is the shim's own source (`src/enforce/group.rs`, `src/custodian/crew.rs`), with
//! at most two threads in a crew, over locks, atomics and a futex that loom sees. Mutants of it, made by `build.rs`, show that the
//! checks can fail.

/// What the sources find under that name in the shim.
pub mod sys {
    pub mod lock;
}

macro_rules! modules {
    ($($name:ident)*) => {
        $(
            #[allow(dead_code, reason = "the models use what they need")]
            pub mod $name {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
            }
        )*
    };
}

modules! {
    crew
    group
}

/// Named after their defects; see `build.rs`.
pub mod mutants {
    modules! {
        group_served_by_the_running_flush
        group_wakes_one_of_all
        group_sleeps_on_what_it_sees_late
        crew_forgets_the_news_of_a_job
        crew_result_is_not_released
        crew_job_stays_queued
        crew_order_misses_who_is_hired
        crew_order_does_not_wait
        crew_takes_jobs_while_leaving
    }
}
