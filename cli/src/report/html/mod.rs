//! The page: everything in one file, nothing from elsewhere.

mod data;

pub use data::Contents;

use std::io::{self, Write};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// In this order: what is at the top of one is used by those after it.
const SCRIPTS: [&str; 9] = [
    include_str!("data.js"),
    include_str!("state.js"),
    include_str!("canvas.js"),
    include_str!("timeline.js"),
    include_str!("pages.js"),
    include_str!("pagemap.js"),
    include_str!("tears.js"),
    include_str!("records.js"),
    include_str!("main.js"),
];

pub fn write(contents: &Contents<'_>, out: &mut impl Write) -> io::Result<()> {
    let (before, rest) = PAGE.split_once("{{style}}").expect("a place for the style");
    let (middle, rest) = rest.split_once("{{data}}").expect("a place for the data");
    let (end, after) = rest
        .split_once("{{script}}")
        .expect("a place for the script");
    out.write_all(before.as_bytes())?;
    out.write_all(STYLE.as_bytes())?;
    out.write_all(middle.as_bytes())?;
    contents.write(&mut Harmless(&mut *out))?;
    out.write_all(end.as_bytes())?;
    for script in SCRIPTS {
        out.write_all(script.as_bytes())?;
    }
    out.write_all(after.as_bytes())
}

/// Writes JSON so that it cannot end the element that it stands in. In JSON these characters are
/// found in texts only, and there an escape means the same.
struct Harmless<W>(W);

impl<W: Write> Write for Harmless<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(at) = rest
            .iter()
            .position(|byte| matches!(byte, b'<' | b'>' | b'&'))
        {
            self.0.write_all(&rest[..at])?;
            write!(self.0, "\\u{:04x}", rest[at])?;
            rest = &rest[at + 1..];
        }
        self.0.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_end_the_script() {
        let text = "</script><!--&\u{2028}";
        let mut out = Vec::new();
        serde_json::to_writer(Harmless(&mut out), text).unwrap();
        assert!(!out.contains(&b'<') && !out.contains(&b'&'));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn the_page_takes_nothing_from_elsewhere_and_no_text_for_markup() {
        let all = [PAGE, STYLE].into_iter().chain(SCRIPTS);
        for part in all {
            for word in [
                "http:",
                "https:",
                "url(",
                "@import",
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "eval(",
                "document.write",
            ] {
                assert!(!part.contains(word), "{word}");
            }
        }
    }
}
