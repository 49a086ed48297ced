//! The constructor, and the gate before it.
//!
//! Constructors of other libraries run before this one, and map files; until the gate opens every
//! hook is a plain pass-through. In a set-user-ID program, which /etc/ld.so.preload brings the shim into,
//! it never opens.

#[cfg(not(test))]
use crate::hooks;
use crate::sys::raw;
use crate::sys::strings::{BeforeMain, value_of};
use crate::{config, dirty, enforce, helper, log, mappings, next_fn, process, sys};
use keepmydata_records::{Enforce, Level, LineBuf, PathText, Track, event};

#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = boot;

/// Runs once, before main, on the thread that loads the shim.
pub extern "C" fn boot() {
    if process::is_open() {
        return;
    }
    // A program may start with any, and must start with the same.
    let before = next_fn::errno();
    // SAFETY: the loader runs this before main.
    let mut environment = unsafe { BeforeMain::new() };
    sys::boot();
    sys::thread::boot();
    helper::note_main_thread();
    next_fn::boot();
    if config::is_secure() {
        // Rights that whoever set the environment has not. The gate stays closed.
        config::clear_environment(&mut environment);
        next_fn::set_errno(before);
        return;
    }
    let mut bad = LineBuf::<512>::new();
    config::boot(&environment, &mut |value| {
        log::text(&mut bad, format_args!("keepmydata: {value}\n"))
    });
    config::find_typos(&mut environment, &mut |name, meant| {
        let name = PathText::from(name);
        let line =
            format_args!("keepmydata: warning: {name}: no such setting; did you mean {meant}?\n");
        log::text(&mut bad, line);
    });
    if let Some(why) = config::why_nothing_waits() {
        log::text(
            &mut bad,
            format_args!("keepmydata: warning: KEEPMYDATA_SEEN_BY: {why}\n"),
        );
    }
    if !bad.as_bytes().is_empty() {
        log::say_before_main(bad.as_bytes());
    }
    if process::boot()
        && next_fn::boot_counting()
        && mappings::boot()
        && helper::boot()
        && dirty::locking::boot()
        && enforce::boot()
    {
        log::boot();
        crate::stats::boot();
        // A supervisor leaves to this library what it does itself.
        if sys::filter::is_on()
            && !sys::supervised::say(sys::supervised::Word::Preloaded)
            && !enforce::sandbox::inherits(asks_at_once())
        {
            next_fn::set_errno(before);
            return;
        }
        say_hello();
        say_what_is_missing();
        #[cfg(not(test))]
        hooks::boot(&environment);
        process::open();
    }
    handshake(&mut environment);
    next_fn::set_errno(before);
}

/// Whether the kernel is asked what it has before anything is mapped.
fn asks_at_once() -> bool {
    log::enabled(Level::Info) || config::settings().track != Track::Auto
}

/// The first line: how a user tells that the shim works.
fn say_hello() {
    if !log::enabled(Level::Info) {
        return;
    }
    let settings = config::settings();
    let mut message = LineBuf::<1024>::new();
    log::text(
        &mut message,
        format_args!(
            "keepmydata {} {}; trackers available: {}; {settings}",
            env!("CARGO_PKG_VERSION"),
            match settings.enforce {
                Enforce::Full => "is active",
                Enforce::Off => "watches only",
            },
            crate::dirty::available(),
        ),
    );
    let process = process::this();
    let mut record = log::record(process, Level::Info, sys::gettid(), event::START);
    record.message = message.as_str().into();
    log::emit(&helper::Worker::without_descriptors(process), &record);
}

/// A tracker that was asked for and is not there: another one takes its place.
fn say_what_is_missing() {
    if !log::enabled(Level::Warn) || config::settings().enforce == Enforce::Off {
        return;
    }
    let Some((wanted, instead)) = crate::dirty::replaced() else {
        return;
    };
    let (wanted, instead) = (wanted.name(), instead.name());
    let mut message = LineBuf::<160>::new();
    log::text(
        &mut message,
        format_args!(
            "KEEPMYDATA_TRACK={wanted}: not available here (an older kernel, or a sandbox); dirty pages \
             come from {instead}"
        ),
    );
    let process = process::this();
    let mut record = log::record(process, Level::Warn, sys::gettid(), event::START);
    record.message = message.as_str().into();
    log::emit(&helper::Worker::without_descriptors(process), &record);
}

/// Tells `keepmydata` (the command) that the shim was loaded: `KEEPMYDATA_HANDSHAKE` names a
/// descriptor that is written to, closed and forgotten before main.
fn handshake(environment: &mut BeforeMain) {
    const NAME: &str = "KEEPMYDATA_HANDSHAKE";
    let Some(value) = environment.get(NAME) else {
        return;
    };
    let fd = str::from_utf8(value).map_or(0, |value| value.parse().unwrap_or(0));
    environment.retain(|variable| value_of(NAME, variable).is_none());
    if fd > 2 {
        let hello = concat!("keepmydata ", env!("CARGO_PKG_VERSION"), "\n");
        // A variable that was inherited without its descriptor may name a file of the program's:
        // send(2) takes nothing but a socket, and only what took the line is closed.
        if raw::sys_send(fd, hello.as_bytes(), libc::MSG_NOSIGNAL).is_ok() {
            let _ = raw::sys_close(fd);
        }
    }
}
