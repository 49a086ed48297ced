//! The judge, against a model of a process and of filesystems that lie: no kernel is asked. Each test that shows a cure
//! checks what the filesystem holds in the end, not what the judge says of it.

mod world;

use keepmydata_promise::{Debt, Event, NAMELESS, Terms};
use keepmydata_ranges::Ranges;
use keepmydata_records::{Content, Rung, Verdict};
use rustix::io::Errno;
use std::cell::Cell;
use world::{Mode, PAGE, World, msync, msync_by, msync_unverified, taken, terms};

/// A world in which the program has stored to so many pages, each with its number and one.
fn stored(mode: Mode, pages: usize) -> World {
    let world = World::new(mode, pages);
    for page in 0..pages {
        world.store(page, page as u8 + 1);
    }
    world
}

fn holds_all(world: &World, pages: usize) -> bool {
    (0..pages).all(|page| world.holds(page, page as u8 + 1))
}

#[test]
fn an_honest_filesystem_is_proved_at_once() {
    let world = stored(Mode::Honest, 5);
    let ended = msync(&world);
    assert_eq!(ended.result(), Ok(()));
    assert_eq!((ended.verdicts.verified, ended.facts.healed), (5, None));
    assert!(holds_all(&world, 5));
    assert!(matches!(
        world.events.borrow()[..],
        [Event::Flushed(Ok(())), Event::Compared(Ok(()))]
    ));
}

#[test]
fn nothing_is_left_behind() {
    for mode in [Mode::Honest, Mode::BlackHole, Mode::EioOnce] {
        let world = stored(mode, 3);
        drop(msync(&world));
        assert!(world.is_clean(), "{mode:?}: a witness");
        assert_eq!(taken(), 0, "{mode:?}: a block");
    }
}

#[test]
fn what_is_kept_nowhere_is_refused_until_it_is_stored_anew_somewhere() {
    let world = stored(Mode::BlackHole, 2);
    let ended = msync(&world);
    assert_eq!(ended.result(), Err(Errno::IO));
    assert_eq!(ended.verdicts.stale, 2);
    let rows = ended.evidence.rows.as_slice();
    assert_eq!(rows[1].verdict, Verdict::Stale);
    assert_eq!((rows[1].start, rows[1].content), (4096, Some(Content::Old)));
    // Nothing was stored since: the error stands.
    for _ in 0..2 {
        assert_eq!(msync(&world).result(), Err(Errno::IO));
    }
    // Also where the file was unmapped and mapped again.
    world.unmap();
    world.map();
    assert_eq!(msync(&world).result(), Err(Errno::IO));
}

#[test]
fn a_torn_page_is_refused_and_the_tear_is_shown() {
    let world = stored(Mode::Tears, 1);
    let ended = msync(&world);
    assert_eq!(ended.result(), Err(Errno::IO));
    let row = ended.evidence.rows.as_slice()[0];
    assert_eq!(row.first_diff, Some(PAGE as u64 / 2));
}

#[test]
fn a_daemon_that_applies_a_page_a_sync_is_asked_until_all_are_there() {
    let world = stored(Mode::OnePage, 6);
    let ended = msync(&world);
    assert_eq!(ended.result(), Ok(()));
    assert!(holds_all(&world, 6));
    assert_eq!(ended.facts.healed, Some(Rung::Resync));
}

#[test]
fn pages_of_which_the_first_write_is_lost_are_made_dirty_again() {
    for mode in [Mode::LossyFirst, Mode::DropTail] {
        let world = stored(mode, 4);
        let ended = msync(&world);
        assert_eq!(ended.result(), Ok(()), "{mode:?}");
        assert!(holds_all(&world, 4), "{mode:?}");
        assert_eq!(ended.facts.healed, Some(Rung::Redirty), "{mode:?}");
    }
}

#[test]
fn a_daemon_that_applies_late_is_waited_for_and_not_for_ever() {
    let world = stored(Mode::Late(20_000_000), 2);
    let ended = msync(&world);
    assert_eq!(ended.result(), Ok(()));
    assert!(holds_all(&world, 2));
    let world = stored(Mode::Late(60_000_000_000), 2);
    assert_eq!(msync(&world).result(), Err(Errno::IO));
}

#[test]
fn a_flush_that_failed_is_a_success_only_when_all_that_was_dirty_is_there() {
    let world = stored(Mode::EioOnce, 3);
    let ended = msync(&world);
    assert_eq!(ended.result(), Ok(()));
    assert_eq!(ended.facts.cause, Some(Errno::IO));
    assert!(holds_all(&world, 3));
}

#[test]
fn on_a_local_disk_an_error_stands() {
    let world = stored(Mode::EioOnce, 3);
    let local = Terms {
        local_block: true,
        ..terms()
    };
    assert_eq!(msync_by(&world, local).result(), Err(Errno::IO));
    // The next one succeeds because all of it is there, not because the second flush has nothing to do.
    assert_eq!(msync_by(&world, local).result(), Ok(()));
    assert!(holds_all(&world, 3));
}

#[test]
fn a_flush_that_failed_is_about_pages_that_nobody_saw_stored_to() {
    let world = World::new(Mode::EioOnce, 2);
    world.store_unseen(1, 9);
    world.store(0, 1);
    assert_eq!(msync(&world).result(), Ok(()));
    assert!(world.holds(0, 1) && world.holds(1, 9));
}

#[test]
fn what_another_thread_stores_meanwhile_is_newer() {
    let world = stored(Mode::Honest, 2);
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.store(1, 77)));
    let ended = msync(&world);
    assert_eq!(ended.result(), Ok(()));
    assert_eq!((ended.verdicts.verified, ended.verdicts.newer), (1, 1));
    assert!(world.holds(1, 77));
}

#[test]
fn what_another_thread_stores_meanwhile_excuses_nothing() {
    let world = stored(Mode::BlackHole, 2);
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.store_part(1, 0..8, 77)));
    let ended = msync(&world);
    assert_eq!(ended.result(), Err(Errno::IO));
    assert_eq!(ended.verdicts.stale, 2);
}

#[test]
fn a_byte_that_is_overwritten_meanwhile_is_not_excused() {
    let world = World::new(Mode::OnePage, 2);
    world.store(0, 1);
    world.store_part(1, 0..1, 5);
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.store_part(1, 0..1, 6)));
    assert_eq!(msync(&world).result(), Ok(()));
    assert_eq!(world.first_byte(1), 6);
}

/// A world in which another thread counts in a byte of page 1.
fn counting(mode: Mode) -> World {
    let world = stored(mode, 2);
    let count = Cell::new(100);
    *world.always.borrow_mut() = Some(Box::new(move |world| {
        count.set(count.get() + 1);
        world.store_part(1, 0..1, count.get());
    }));
    world
}

#[test]
fn a_byte_that_is_stored_to_all_the_time_is_newer_once_the_filesystem_takes_the_page() {
    for mode in [Mode::Honest, Mode::OnePage, Mode::DropTail] {
        let world = counting(mode);
        let ended = msync(&world);
        assert_eq!(ended.result(), Ok(()), "{mode:?}");
        assert!(world.holds(0, 1) && world.first_byte(1) > 100, "{mode:?}");
    }
}

#[test]
fn a_byte_that_is_stored_to_all_the_time_and_kept_nowhere_is_refused() {
    let world = World::new(Mode::BlackHole, 1);
    let count = Cell::new(1);
    world.store_part(0, 0..1, 1);
    *world.always.borrow_mut() = Some(Box::new(move |world| {
        count.set(count.get() % 100 + 1);
        world.store_part(0, 0..1, count.get());
    }));
    assert_eq!(msync(&world).result(), Err(Errno::IO));
}

#[test]
fn a_page_that_has_left_the_page_cache_is_uncertain() {
    for uncertain_fails in [false, true] {
        let world = stored(Mode::BlackHole, 1);
        *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.evict(0)));
        let terms = Terms {
            uncertain_fails,
            ..terms()
        };
        let ended = msync_by(&world, terms);
        assert_eq!(ended.verdicts.uncertain, 1);
        let expected = if uncertain_fails {
            Err(Errno::IO)
        } else {
            Ok(())
        };
        assert_eq!(ended.result(), expected);
    }
}

/// Two processes that store to one page in turns take it from each other all the time.
#[test]
fn a_page_that_has_left_the_page_cache_is_waited_for_less_each_time_in_vain() {
    let world = stored(Mode::BlackHole, 1);
    let takes = || -> u64 {
        world.store(0, 7);
        *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.evict(0)));
        let began = world.clock.get();
        let ended = msync(&world);
        assert_eq!((ended.result(), ended.verdicts.uncertain), (Ok(()), 1));
        world.clock.get() - began
    };
    let waits: Vec<_> = (0..6).map(|_| takes()).collect();
    assert!(waits[0] >= 100_000_000, "the first in full: {waits:?}");
    assert!(waits[5] < 10_000, "the sixth hardly: {waits:?}");
    // Once something has arrived late it is waited for as before.
    let late = stored(Mode::Late(5_000_000), 1);
    late.debt.borrow_mut().waits_in_vain = 1;
    *late.meanwhile.borrow_mut() = Some(Box::new(|world| world.evict(0)));
    assert_eq!(msync(&late).verdicts.verified, 1);
    assert_eq!(late.debt.borrow().waits_in_vain, 0);
}

#[test]
fn a_page_that_is_there_as_it_was_copied_is_proved_though_it_has_left_the_page_cache() {
    let world = stored(Mode::Honest, 1);
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.evict(0)));
    let ended = msync(&world);
    assert_eq!((ended.verdicts.verified, ended.verdicts.uncertain), (1, 0));
}

#[test]
fn a_page_that_was_gone_before_is_never_proved() {
    let world = stored(Mode::BlackHole, 2);
    world.evict(0);
    let ended = msync_by(
        &world,
        Terms {
            uncertain_fails: true,
            ..terms()
        },
    );
    assert_eq!(ended.result(), Err(Errno::IO));
    assert_eq!((ended.verdicts.uncertain, ended.verdicts.stale), (1, 1));
}

#[test]
fn without_memory_for_copies_hashes_judge() {
    let poor = Terms {
        copy_budget: 0,
        ..terms()
    };
    let world = stored(Mode::Honest, 3);
    // Beyond the end of the file there is nothing to compare with.
    world.size.set(2 * PAGE as u64 + 100);
    let ended = msync_by(&world, poor);
    assert_eq!((ended.result(), ended.verdicts.verified), (Ok(()), 3));
    let world = stored(Mode::BlackHole, 3);
    assert_eq!(msync_by(&world, poor).result(), Err(Errno::IO));
    let world = stored(Mode::OnePage, 3);
    assert_eq!(msync_by(&world, poor).result(), Ok(()));
    assert!(holds_all(&world, 3));
}

#[test]
fn what_was_stored_through_a_mapping_that_is_gone_is_owed() {
    let world = stored(Mode::BlackHole, 1);
    world.unmap();
    let ended = msync(&world);
    assert_eq!(ended.verdicts.uncertain, 1, "nobody can compare it");
    let world = stored(Mode::BlackHole, 1);
    world.unmap();
    world.map();
    assert_eq!(msync(&world).result(), Err(Errno::IO));
}

#[test]
fn what_a_sync_without_a_call_doubts_is_told_by_the_next_msync() {
    let world = stored(Mode::BlackHole, 1);
    let settles = Terms {
        settles: true,
        ..terms()
    };
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.evict(0)));
    assert_eq!(msync_by(&world, settles).result(), Ok(()));
    assert_eq!(msync(&world).verdicts.uncertain, 1);
    assert_eq!(msync(&world).verdicts.uncertain, 0, "once");
}

#[test]
fn a_doubt_of_a_sync_without_a_call_is_an_error_once() {
    for mode in [Mode::Honest, Mode::BlackHole] {
        let world = stored(mode, 1);
        let fails = Terms {
            uncertain_fails: true,
            ..terms()
        };
        let settles = Terms {
            settles: true,
            ..fails
        };
        world.evict(0);
        drop(msync_by(&world, settles));
        assert_eq!(msync_by(&world, fails).result(), Err(Errno::IO), "{mode:?}");
        assert_eq!(msync_by(&world, fails).result(), Ok(()), "{mode:?}");
    }
}

#[test]
fn what_a_sync_without_a_call_could_not_compare_is_told_by_the_next_msync() {
    let world = stored(Mode::BlackHole, 2);
    let settles = Terms {
        settles: true,
        ..terms()
    };
    drop(msync_unverified(&world, settles));
    assert_eq!(msync(&world).verdicts.uncertain, 2);
}

#[test]
fn what_a_sync_without_a_call_fails_for_fails_the_next_msync() {
    let world = stored(Mode::BlackHole, 1);
    let settles = Terms {
        settles: true,
        ..terms()
    };
    assert_eq!(msync_by(&world, settles).result(), Err(Errno::IO));
    assert_eq!(msync(&world).result(), Err(Errno::IO));
}

#[test]
fn what_cannot_be_read_back_is_refused() {
    let world = stored(Mode::Honest, 1);
    world.unreadable.set(true);
    let ended = msync(&world);
    assert_eq!(ended.result(), Err(Errno::IO));
    assert_eq!(ended.facts.unreadable, Some(Errno::IO));
}

#[test]
fn what_can_only_be_read_through_the_page_cache_is_dropped_from_it_first() {
    let world = stored(Mode::Honest, 2);
    world.read_only_through_cache();
    assert_eq!(msync(&world).verdicts.verified, 2);
    let world = stored(Mode::BlackHole, 2);
    world.read_only_through_cache();
    let ended = msync(&world);
    assert_eq!((ended.verdicts.verified, ended.verdicts.uncertain), (0, 2));
}

#[test]
fn what_cannot_be_dropped_proves_nothing_about_itself() {
    let world = stored(Mode::BlackHole, 2);
    world.read_only_through_cache();
    world.pinned.set(true);
    let ended = msync(&world);
    assert_eq!(ended.verdicts.verified, 0);
    assert_eq!((ended.verdicts.uncertain, ended.facts.unread_pages), (2, 2));
}

fn seen_elsewhere() -> Terms {
    Terms {
        seen_elsewhere: true,
        ..terms()
    }
}

#[test]
fn what_another_client_must_be_shown_is_waited_for_and_not_written_again() {
    let world = stored(Mode::Honest, 3);
    world.shown_at.set(50_000_000);
    let ended = msync_by(&world, seen_elsewhere());
    assert_eq!(ended.result(), Ok(()));
    assert_eq!((ended.verdicts.verified, ended.facts.unseen_pages), (3, 0));
    assert_eq!(
        ended.facts.healed, None,
        "the filesystem held it all the time"
    );
    let events = world.events.borrow();
    let flushes = events
        .iter()
        .filter(|event| matches!(event, Event::Flushed(_)));
    assert_eq!(flushes.count(), 1);
}

#[test]
fn what_another_client_is_never_shown_is_uncertain_and_an_error_until_it_is() {
    let world = stored(Mode::Honest, 3);
    world.shown_at.set(u64::MAX);
    let ended = msync_by(&world, seen_elsewhere());
    assert_eq!(ended.result(), Ok(()));
    assert_eq!((ended.verdicts.uncertain, ended.facts.unseen_pages), (3, 3));
    assert!(!ended.is_all_proved());
    // The next msync is to look again.
    assert_eq!(world.debt.borrow().unshown.pages(), 3);
    let strict = Terms {
        uncertain_fails: true,
        ..seen_elsewhere()
    };
    let world = stored(Mode::Honest, 3);
    world.shown_at.set(u64::MAX);
    for _ in 0..2 {
        let ended = msync_by(&world, strict);
        assert_eq!(ended.result(), Err(Errno::IO));
    }
    world.shown_at.set(0);
    assert_eq!(msync_by(&world, strict).result(), Ok(()));
    assert!(holds_all(&world, 3));
}

#[test]
fn why_another_client_cannot_be_asked_is_known_and_what_has_no_name_is_not_waited_for() {
    for (errno, waits) in [(Errno::NOENT, true), (NAMELESS, false)] {
        let world = stored(Mode::Honest, 3);
        world.unseen.set(Some(errno));
        let began = world.clock.get();
        let ended = msync_by(&world, seen_elsewhere());
        assert_eq!(ended.facts.unseen_errno, Some(errno));
        assert_eq!((ended.verdicts.uncertain, ended.facts.unseen_pages), (3, 3));
        let took = world.clock.get() - began;
        assert_eq!(took >= 100_000_000, waits, "{errno}: {took} ns");
        // Nobody can be shown what has no name: that is told, and no reason to fail.
        let strict = Terms {
            uncertain_fails: true,
            ..seen_elsewhere()
        };
        let fails = msync_by(&world, strict).result() == Err(Errno::IO);
        assert_eq!(fails, waits, "{errno}");
    }
}

/// What is to be shown is no less for having no copy: a hole of the program's own, say.
#[test]
fn what_was_not_copied_is_waited_for_too() {
    for late in [50_000_000, u64::MAX] {
        let world = stored(Mode::Honest, 3);
        assert_eq!(msync_by(&world, seen_elsewhere()).result(), Ok(()));
        let size = world.size.get();
        world.debt.borrow_mut().unshown.add(0, size);
        world.shown_at.set(world.clock.get().saturating_add(late));
        let strict = Terms {
            uncertain_fails: true,
            ..seen_elsewhere()
        };
        let ended = msync_by(&world, strict);
        let (result, hidden) = match late {
            u64::MAX => (Err(Errno::IO), 3),
            _ => (Ok(()), 0),
        };
        assert_eq!((ended.result(), ended.facts.unseen_pages), (result, hidden));
        assert_eq!(ended.evidence.pages.pages(), hidden);
        assert_eq!(world.debt.borrow().unshown.pages(), hidden);
    }
}

#[test]
fn a_size_that_another_client_does_not_show_is_uncertain() {
    let world = stored(Mode::Honest, 3);
    world.size_there.set(Some(5 * 4096));
    let ended = msync_by(&world, seen_elsewhere());
    assert_eq!((ended.verdicts.verified, ended.facts.unseen_pages), (3, 1));
    world.size_there.set(None);
    let ended = msync_by(&world, seen_elsewhere());
    assert_eq!((ended.verdicts.uncertain, ended.facts.unseen_pages), (0, 0));
}

/// What another thread or process changes past the page cache meanwhile, it owes.
#[test]
fn what_others_change_in_pages_of_theirs_is_shown_as_it_is() {
    let world = stored(Mode::Honest, 2);
    let strict = Terms {
        uncertain_fails: true,
        ..seen_elsewhere()
    };
    assert_eq!(msync_by(&world, strict).result(), Ok(()));
    for (of_others, expected) in [(true, Ok(())), (false, Err(Errno::IO))] {
        world.of_others.set(of_others);
        world.store(0, 7);
        *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.write_past(0, 9)));
        assert_eq!(msync_by(&world, strict).result(), expected, "{of_others}");
    }
}

#[test]
fn a_size_that_another_process_changes_all_the_time_is_no_doubt() {
    let world = stored(Mode::Honest, 3);
    world.grows.set(true);
    let ended = msync_by(&world, seen_elsewhere());
    assert_eq!((ended.verdicts.verified, ended.facts.unseen_pages), (3, 0));
    // What it never was is one.
    world.size_there.set(Some(2 * 4096));
    let ended = msync_by(&world, seen_elsewhere());
    assert_eq!(ended.facts.unseen_pages, 1);
}

/// The other client is asked about what the filesystem holds, and about nothing else.
#[test]
fn what_another_client_is_shown_proves_nothing_that_the_filesystem_lacks() {
    let world = stored(Mode::BlackHole, 2);
    let ended = msync_by(&world, seen_elsewhere());
    assert_eq!(ended.result(), Err(Errno::IO));
    assert_eq!((ended.verdicts.stale, ended.facts.unseen_pages), (2, 0));
}

/// What the program was told of lacks no more than that, whoever drops it: a doubt does not come back with each drop.
#[test]
fn what_was_told_of_is_not_doubted_again_for_a_drop() {
    let mut debt = Debt::default();
    let mut pages = Ranges::new();
    pages.add(0, 3 * 4096);
    debt.owe(&pages, true);
    debt.told.add(4096, 2 * 4096);
    debt.doubt_what_is_assumed();
    let assumed: Vec<u64> = debt
        .assumed_dirty
        .iter()
        .map(|range| range.offset)
        .collect();
    assert_eq!(
        (assumed, debt.assumed_dirty.pages(), debt.owed.pages()),
        (vec![4096], 1, 3)
    );
}
