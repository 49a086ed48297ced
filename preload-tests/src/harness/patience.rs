//! How much longer than on an ordinary machine a test waits before it gives up.

use std::time::Duration;

/// `limit`, a time after which something counts as hanging, as many times as
/// `KEEPMYDATA_TEST_PATIENCE` says: an emulated processor is slow.
///
/// # Panics
/// If the variable is set to something other than a number.
pub fn patience(limit: Duration) -> Duration {
    match std::env::var("KEEPMYDATA_TEST_PATIENCE") {
        Ok(value) => {
            limit
                * value
                    .parse::<u32>()
                    .expect("KEEPMYDATA_TEST_PATIENCE: a number")
        }
        Err(_) => limit,
    }
}
