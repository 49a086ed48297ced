//! `keepmydata report --follow`: what a program does now.

mod live;
mod view;

use super::input::Source;
use crate::failure::Failure;
use live::Live;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::ffi::c_int;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// How often the screen is drawn anew, and logs are looked at.
const PERIOD: Duration = Duration::from_millis(200);

pub fn follow(sources: &[Source]) -> Result<c_int, Failure> {
    if !io::stdout().is_terminal() {
        return Err(Failure::new(
            2,
            "--follow needs a terminal, and standard output is none; without --follow the report is printed",
        ));
    }
    if sources.contains(&Source::Stdin) {
        return Err(Failure::new(
            2,
            "--follow cannot read -: standard input is for its keys; name the log's file",
        ));
    }
    let mut live = Live::open(sources)?;
    let mut terminal = ratatui::try_init().map_err(terminal_failed)?;
    let result = run(&mut terminal, &mut live);
    ratatui::restore();
    result?;
    Ok(c_int::from(live.summary.at_risk()))
}

fn terminal_failed(error: io::Error) -> Failure {
    Failure::of("terminal", &error)
}

fn run(terminal: &mut ratatui::DefaultTerminal, live: &mut Live) -> Result<(), Failure> {
    loop {
        live.read(Instant::now() + PERIOD / 2)?;
        terminal
            .draw(|frame| view::draw(frame, live))
            .map_err(terminal_failed)?;
        // Long logs are not waited for.
        let wait = if live.behind { Duration::ZERO } else { PERIOD };
        if event::poll(wait).map_err(terminal_failed)?
            && let Event::Key(key) = event::read().map_err(terminal_failed)?
            && key.kind == KeyEventKind::Press
        {
            let interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c') if interrupt => return Ok(()),
                _ => {}
            }
        }
    }
}
