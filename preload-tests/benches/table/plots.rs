//! What msync costs against the number of dirty pages, and against the size of the file.

use std::ops::Range;

use indicatif::ProgressBar;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::cases::{Case, MIB, whole_file};
use crate::checks::Check;
use crate::contender::{self, Contender, Round};
use crate::filesystem::Filesystem;
use crate::options::{CaseName, FsName};
use crate::run;
use crate::stats::{Spread, duration};

/// One line of a plot.
pub struct Series {
    pub fs: &'static str,
    pub contender: &'static str,
    /// What is on the x axis, and ns.
    pub points: Vec<(f64, Spread)>,
}

const CONTENDERS: [Contender; 5] = [
    contender::FDATASYNC,
    contender::DROP,
    contender::SHIM_OFF_OFF,
    contender::SHIM_OFF_DIRTY,
    contender::SHIM_ON_DIRTY,
];

/// Filesystems that are plotted, side by side.
pub const FILESYSTEMS: [FsName; 2] = [FsName::Ext4, FsName::Fuse];

pub fn steps(name: CaseName, quick: bool) -> u64 {
    let points = match name {
        CaseName::DirtyPages => dirty_pages().len(),
        _ => sizes().len(),
    };
    (CONTENDERS.len() * points * (rounds(quick) + run::WARM_UP)) as u64
}

fn rounds(quick: bool) -> usize {
    if quick { 3 } else { 5 }
}

fn dirty_pages() -> Vec<u64> {
    (0..=8).map(|n| 4u64.pow(n)).collect()
}

/// 1 MiB to 64 GiB.
fn sizes() -> Vec<u64> {
    (0..=8).map(|n| MIB * 4u64.pow(n)).collect()
}

fn case(name: CaseName, size: u64, rounds: usize) -> Case {
    Case {
        name,
        title: String::new(),
        guest: "bench_rounds",
        arguments: whole_file,
        size,
        contenders: CONTENDERS.to_vec(),
        rounds,
        request: Box::new(|_| String::new()),
        metrics: vec![],
        counted: None,
    }
}

/// Cost against the number of dirty pages in 256 MiB, all cached.
///
/// # Errors
/// Why it could not be measured.
pub fn against_dirty_pages(
    fs: FsName,
    mounted: &Filesystem,
    quick: bool,
    progress: &ProgressBar,
) -> Result<Vec<Series>, String> {
    let pages = dirty_pages();
    let repeat = rounds(quick);
    let requests = pages.clone();
    let mut case = case(CaseName::DirtyPages, 256 * MIB, repeat * pages.len());
    case.request = Box::new(move |round| {
        // The round for warming up counts as well.
        let pages = requests[(round + requests.len() - run::WARM_UP) % requests.len()];
        format!("{pages} {} 1", round + 1)
    });
    let rounds = run::rounds_of(&case, mounted, progress)?;
    let points = |of_one: &[Round]| {
        let at = |n: usize| of_one.iter().skip(n).step_by(pages.len());
        (0..pages.len())
            .map(|n| (pages[n] as f64, syncs(at(n))))
            .collect()
    };
    Ok(CONTENDERS
        .iter()
        .zip(&rounds)
        .map(|(contender, rounds)| series(fs, contender, points(rounds)))
        .collect())
}

/// Cost of 16 dirty pages against the size of the file, of which nothing else is cached.
///
/// # Errors
/// Why it could not be measured.
pub fn against_size(
    fs: FsName,
    mounted: &Filesystem,
    quick: bool,
    progress: &ProgressBar,
) -> Result<Vec<Series>, String> {
    let mut all: Vec<Series> = CONTENDERS
        .iter()
        .map(|contender| series(fs, contender, vec![]))
        .collect();
    for size in sizes() {
        let mut case = case(CaseName::FileSize, size, rounds(quick));
        case.arguments = |case, path, how| {
            let mut arguments = whole_file(case, path, how);
            arguments[3] = "sparse".to_owned();
            arguments
        };
        // The same pages each time: else more would be cached with each round.
        case.request = Box::new(|_| "16 1 0".to_owned());
        let rounds = run::rounds_of(&case, mounted, progress)?;
        for (series, rounds) in all.iter_mut().zip(&rounds) {
            series.points.push((size as f64, syncs(rounds.iter())));
        }
    }
    Ok(all)
}

fn series(fs: FsName, contender: &Contender, points: Vec<(f64, Spread)>) -> Series {
    Series {
        fs: fs.name(),
        contender: contender.name,
        points,
    }
}

fn syncs<'a>(rounds: impl Iterator<Item = &'a Round>) -> Spread {
    Spread::of(rounds.map(|round| run::sum(round, &["sync"])))
}

/// That the cost is linear in dirty pages: from 4096 to 65,536 it grows 16 times, give or take.
pub fn linear(series: &[Series]) -> Vec<Check> {
    let wanted = [contender::SHIM_OFF_OFF.name, contender::SHIM_ON_DIRTY.name];
    series
        .iter()
        .filter(|series| wanted.contains(&series.contender))
        .map(|series| Check {
            fs: series.fs,
            what: format!("{}: 65,536 dirty pages over 4096", series.contender),
            measured: median_at(series, 65_536.0) / median_at(series, 4096.0),
            at_most: 24.0,
        })
        .collect()
}

/// That the cost is flat in the size of the file: from 1 MiB to 64 GiB it grows at most twice as much
/// as without the shim, where the pages lie further apart too.
pub fn flat(series: &[Series]) -> Vec<Check> {
    let wanted = [contender::SHIM_OFF_OFF.name, contender::SHIM_OFF_DIRTY.name];
    let growth =
        |series: &Series| median_at(series, (64u64 << 30) as f64) / median_at(series, MIB as f64);
    let by_hand = series
        .iter()
        .find(|series| series.contender == contender::FDATASYNC.name)
        .map_or(f64::NAN, growth);
    series
        .iter()
        .filter(|series| wanted.contains(&series.contender))
        .map(|series| Check {
            fs: series.fs,
            what: format!(
                "{}: growth from 1 MiB to 64 GiB over that of {}",
                series.contender,
                contender::FDATASYNC.name
            ),
            measured: growth(series) / by_hand,
            at_most: 2.0,
        })
        .collect()
}

fn median_at(series: &Series, x: f64) -> f64 {
    let point = series.points.iter().find(|(at, _)| *at == x);
    point.map_or(f64::NAN, |(_, spread)| spread.median)
}

/// Draws `series`, a panel for each filesystem, as SVG.
///
/// # Errors
/// Whatever the drawing says.
pub fn draw(
    series: &[Series],
    title: &str,
    x_label: &str,
    x_text: fn(f64) -> String,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (1200, 520)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let root = root.titled(title, ("sans-serif", 22)).map_err(text)?;
        let mut names: Vec<&str> = series.iter().map(|s| s.fs).collect();
        names.dedup();
        let bounds = Bounds::of(series);
        let panels = root.split_evenly((1, names.len().max(1)));
        for (panel, name) in panels.iter().zip(names) {
            let own: Vec<&Series> = series.iter().filter(|s| s.fs == name).collect();
            draw_panel(panel, name, &own, &bounds, x_label, x_text).map_err(text)?;
        }
        root.present().map_err(text)?;
    }
    Ok(svg)
}

struct Bounds {
    x: Range<f64>,
    y: Range<f64>,
}

impl Bounds {
    fn of(series: &[Series]) -> Bounds {
        let points = || series.iter().flat_map(|series| &series.points);
        let x = Spread::of(points().map(|(x, _)| *x));
        let y = Spread::of(points().map(|(_, spread)| spread.median));
        Bounds {
            x: x.min..x.max,
            y: y.min * 0.7..y.max * 1.4,
        }
    }
}

fn draw_panel<B: DrawingBackend>(
    panel: &DrawingArea<B, Shift>,
    name: &str,
    series: &[&Series],
    bounds: &Bounds,
    x_label: &str,
    x_text: fn(f64) -> String,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let mut chart = ChartBuilder::on(panel)
        .caption(name, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(bounds.x.clone().log_scale(), bounds.y.clone().log_scale())?;
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc("msync, median")
        .x_label_formatter(&|x| x_text(*x))
        .y_label_formatter(&|ns| duration(*ns))
        .draw()?;
    for (n, series) in series.iter().enumerate() {
        let color = Palette99::pick(n).to_rgba();
        let points = series.points.iter().map(|(x, spread)| (*x, spread.median));
        let line = LineSeries::new(points, color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(series.contender)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
}

fn text(error: impl std::fmt::Display) -> String {
    format!("plot: {error}")
}

/// 65536 as "65,536".
pub fn count_text(x: f64) -> String {
    match x as u64 {
        x if x >= 1000 => format!("{},{:03}", x / 1000, x % 1000),
        x => x.to_string(),
    }
}

/// 1073741824 as "1 GiB".
pub fn size_text(x: f64) -> String {
    match x as u64 / MIB {
        mib if mib >= 1024 => format!("{} GiB", mib / 1024),
        mib => format!("{mib} MiB"),
    }
}
