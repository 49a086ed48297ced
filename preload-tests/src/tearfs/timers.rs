//! Things to do later, without a thread waiting for each.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

type Job = Box<dyn FnOnce() + Send>;

struct Entry {
    due: Instant,
    number: u64,
    job: Job,
}

/// The earliest is the greatest, as a [`BinaryHeap`] gives the greatest first.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[derive(Default)]
struct Queue {
    entries: BinaryHeap<Entry>,
    numbered: u64,
}

/// One thread that runs jobs when they are due, in order; it lasts as long as the process.
#[derive(Clone)]
pub struct Timers {
    queue: Arc<(Mutex<Queue>, Condvar)>,
}

impl Timers {
    pub fn start() -> Self {
        let timers = Self {
            queue: Arc::default(),
        };
        let queue = Arc::clone(&timers.queue);
        thread::Builder::new()
            .name("timers".into())
            .spawn(move || run(&queue))
            .expect("a thread for timers");
        timers
    }

    /// Runs the job at that time. It must not block.
    pub fn at(&self, due: Instant, job: impl FnOnce() + Send + 'static) {
        let (queue, changed) = &*self.queue;
        let mut queue = queue.lock().expect("timers");
        queue.numbered += 1;
        let number = queue.numbered;
        queue.entries.push(Entry {
            due,
            number,
            job: Box::new(job),
        });
        changed.notify_one();
    }
}

fn run((queue, changed): &(Mutex<Queue>, Condvar)) {
    let mut queue_guard = queue.lock().expect("timers");
    loop {
        let now = Instant::now();
        let wait = match queue_guard.entries.peek() {
            None => None,
            Some(first) if first.due > now => Some(first.due - now),
            Some(_) => {
                let entry = queue_guard.entries.pop().expect("an entry just seen");
                drop(queue_guard);
                (entry.job)();
                queue_guard = queue.lock().expect("timers");
                continue;
            }
        };
        queue_guard = match wait {
            None => changed.wait(queue_guard).expect("timers"),
            Some(wait) => changed.wait_timeout(queue_guard, wait).expect("timers").0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn jobs_run_in_order_of_their_time() {
        let timers = Timers::start();
        let (sender, receiver) = channel();
        let start = Instant::now();
        for ms in [30, 10, 20, 10] {
            let sender = sender.clone();
            let due = start + Duration::from_millis(ms);
            timers.at(due, move || {
                sender.send((ms, Instant::now() >= due)).unwrap()
            });
        }
        let patience = Duration::from_secs(20);
        let ran: Vec<_> = (0..4)
            .map(|_| receiver.recv_timeout(patience).unwrap())
            .collect();
        assert_eq!(ran, [(10, true), (10, true), (20, true), (30, true)]);
    }
}
