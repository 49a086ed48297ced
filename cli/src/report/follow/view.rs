//! The screen.

use super::live::Live;
use crate::report::catalog::{About, Catalog};
use crate::report::summary::{Counts, Duration, Time, counts_of, printable};
use keepmydata_records::{Level, Verdict};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use std::cmp::Reverse;

const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const WARN: Style = Style::new().fg(Color::Yellow);
const HEAD: Style = Style::new().add_modifier(Modifier::DIM);

pub fn draw(frame: &mut Frame<'_>, live: &Live) {
    let tears = live.summary.tears.count();
    let tears_height = if tears == 0 { 3 } else { 9 };
    let [head, tables, rate, torn, latest] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Fill(2),
        Constraint::Length(5),
        Constraint::Length(tears_height),
        Constraint::Fill(2),
    ])
    .areas(frame.area());
    let [files, processes] =
        Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(tables);
    self::head(frame, head, live);
    self::files(frame, files, live);
    self::processes(frame, processes, live);
    self::rate(frame, rate, live);
    self::tears(frame, torn, live);
    self::latest(frame, latest, live);
}

fn head(frame: &mut Frame<'_>, area: Rect, live: &Live) {
    let tears = live.summary.tears.count();
    let state = match tears {
        0 => Span::raw("no data known to be at risk"),
        _ => Span::styled(format!("DATA IS AT RISK: {tears} tears"), BAD),
    };
    let mut line = vec![
        Span::styled("keepmydata ", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("{} records  ", live.summary.records)),
        state,
    ];
    if live.unreadable > 0 {
        let text = format!("  {} unreadable lines", live.unreadable);
        line.push(Span::styled(text, WARN));
    }
    if live.behind {
        line.push(Span::styled("  still reading", WARN));
    }
    line.push(Span::styled("  q quits", HEAD));
    frame.render_widget(Paragraph::new(Line::from(line)), area);
}

fn files(frame: &mut Frame<'_>, area: Rect, live: &Live) {
    let names = live
        .catalog
        .files()
        .iter()
        .map(|file| printable(&file.path));
    sums(frame, area, "Files", names, &live.summary.files);
}

fn processes(frame: &mut Frame<'_>, area: Rect, live: &Live) {
    let names = live.catalog.processes().iter().map(u32::to_string);
    sums(frame, area, "Processes", names, &live.summary.processes);
}

fn sums(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    names: impl Iterator<Item = String>,
    counts: &[Counts],
) {
    let mut rows: Vec<(String, &Counts)> = (0..)
        .zip(names)
        .filter_map(|(id, name)| Some((name, counts_of(counts, id)?)))
        .collect();
    rows.sort_by_key(|(_, counts)| Reverse((counts.tears, counts.msyncs)));
    let rows = rows.iter().take(area.height.into()).map(|(name, counts)| {
        let style = match (counts.tears, counts.healed) {
            (0, 0) => Style::new(),
            (0, _) => WARN,
            _ => BAD,
        };
        Row::new([
            counts.msyncs.to_string(),
            counts.failed.to_string(),
            counts.healed.to_string(),
            counts.tears.to_string(),
            Duration(counts.durations.quantile(0.5)).to_string(),
            name.clone(),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let header = Row::new(["msyncs", "failed", "healed", "tears", "median", ""]).style(HEAD);
    let table = Table::new(rows, widths).header(header);
    frame.render_widget(table.block(Block::bordered().title(title)), area);
}

fn rate(frame: &mut Frame<'_>, area: Rect, live: &Live) {
    let rates = live.rates();
    let now = rates.last().copied().unwrap_or(0);
    let most = rates.iter().max().copied().unwrap_or(0);
    let title = format!("msyncs a second: {now} in the last second of the log, {most} at most");
    let block = Block::bordered().title(title);
    frame.render_widget(Sparkline::default().block(block).data(&rates), area);
}

fn tears(frame: &mut Frame<'_>, area: Rect, live: &Live) {
    let list = &live.summary.tears.list;
    let rows = list.iter().rev().take(area.height.into()).map(|tear| {
        let pages = tear.pages.iter().map(|page| page.page.to_string());
        let pages: Vec<String> = pages.take(12).collect();
        let stale = tear.pages.iter().any(|page| page.verdict == Verdict::Stale);
        let verdict = if stale { "torn" } else { "uncertain" };
        Row::new([
            Cell::from(Time(tear.time_ns).to_string()),
            Cell::from(caller(&live.catalog, &tear.about, tear.call)),
            Cell::from(verdict),
            Cell::from(format!("pages {}", pages.join(" "))),
            Cell::from(file(&live.catalog, &tear.about)),
        ])
        .style(BAD)
    });
    let widths = [
        Constraint::Length(15),
        Constraint::Length(16),
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let block = Block::bordered().title("Tears");
    match list.is_empty() {
        true => frame.render_widget(Paragraph::new("none").block(block), area),
        false => frame.render_widget(Table::new(rows, widths).block(block), area),
    }
}

fn latest(frame: &mut Frame<'_>, area: Rect, live: &Live) {
    let rows = live
        .latest
        .iter()
        .rev()
        .take(area.height.into())
        .map(|one| {
            let style = match one.level {
                Level::Error => BAD,
                Level::Warn => WARN,
                _ => Style::new(),
            };
            let took = one
                .duration_ns
                .map_or(String::new(), |ns| Duration(ns).to_string());
            Row::new([
                Time(one.time_ns).to_string(),
                caller(&live.catalog, &one.about, one.call),
                one.event.clone(),
                took,
                file(&live.catalog, &one.about),
                printable(&one.text),
            ])
            .style(style)
        });
    let widths = [
        Constraint::Length(15),
        Constraint::Length(16),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Fill(2),
    ];
    let table = Table::new(rows, widths);
    frame.render_widget(table.block(Block::bordered().title("Latest")), area);
}

fn caller(catalog: &Catalog, about: &About, call: Option<u64>) -> String {
    let pid = catalog.processes()[about.process as usize];
    match call {
        Some(call) => format!("{pid} #{call}"),
        None => pid.to_string(),
    }
}

/// The end of the path, which tells more than its beginning.
fn file(catalog: &Catalog, about: &About) -> String {
    let Some(file) = about.file.and_then(|id| catalog.files().get(id as usize)) else {
        return String::new();
    };
    let name = printable(&file.path);
    let skipped = name.chars().count().saturating_sub(30);
    match skipped {
        0 => name,
        _ => format!("...{}", name.chars().skip(skipped).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::input::Source;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::io::Write;
    use std::time::Instant;

    #[test]
    fn files_rates_and_tears_are_on_the_screen() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let head =
            r#"{"time_ns":5000000000,"level":"error","pid":7,"tid":7,"path":"/mnt/torn","call":3"#;
        let page = r#"{"page":1084,"start":0,"end":4096,"verdict":"stale"}"#;
        writeln!(
            log,
            r#"{head},"event":"report","result":-1,"errno":"EIO","pages":[{page}]}}"#
        )
        .unwrap();
        writeln!(
            log,
            r#"{head},"event":"msync","result":-1,"errno":"EIO","duration_ns":1500000}}"#
        )
        .unwrap();
        let mut live = Live::open(&[Source::File(log.path().to_owned())]).unwrap();
        live.read(Instant::now() + std::time::Duration::from_secs(60))
            .unwrap();
        for (width, height) in [(120, 40), (40, 10), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &live)).unwrap();
            if width == 120 {
                let screen = terminal.backend().to_string();
                for text in [
                    "DATA IS AT RISK: 1 tears",
                    "/mnt/torn",
                    "pages 1084",
                    "EIO",
                    "1.5 ms",
                    "msyncs a second: 1",
                ] {
                    assert!(screen.contains(text), "{text}:\n{screen}");
                }
            }
        }
    }
}
