//! Tables of documents, written and read back.

use std::fmt::{self, Display, Write};

/// A table that grows by rows. `Display` writes it whole, each line with its newline.
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// With these heads.
    pub fn new(heads: impl IntoIterator<Item = impl Display>) -> Self {
        Table::aligned(heads, |_| "---")
    }

    /// With figures in all columns but the first, which are aligned to the right.
    pub fn of_figures(heads: impl IntoIterator<Item = impl Display>) -> Self {
        Table::aligned(heads, |column| if column == 0 { "---" } else { "--:" })
    }

    fn aligned(
        heads: impl IntoIterator<Item = impl Display>,
        alignment: impl Fn(usize) -> &'static str,
    ) -> Self {
        let mut table = Table {
            columns: 0,
            text: String::new(),
        };
        table.columns = table.line(heads);
        table.text.push('|');
        for column in 0..table.columns {
            table.text += alignment(column);
            table.text.push('|');
        }
        table.text.push('\n');
        table
    }

    /// # Panics
    /// If there are not as many cells as heads.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Display>) {
        let cells = self.line(cells);
        assert_eq!(
            cells,
            self.columns,
            "cells in {:?}",
            self.text.lines().last()
        );
    }

    /// How many cells it has.
    fn line(&mut self, cells: impl IntoIterator<Item = impl Display>) -> usize {
        let mut count = 0;
        self.text.push('|');
        for cell in cells {
            let before = self.text.len();
            write!(self.text, " {cell}").expect("writing to a String");
            let is_empty = self.text.len() == before + 1;
            self.text += if is_empty { "|" } else { " |" };
            count += 1;
        }
        self.text.push('\n');
        count
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The rows of all tables of a text whose first cells are these, in their order, as cells.
pub fn rows<'t>(text: &'t str, first: &[&str]) -> Vec<Vec<&'t str>> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let cells = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    cells
        .filter(|cells: &Vec<&str>| cells.starts_with(first))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_as_written() {
        let mut table = Table::new(["", "b"]);
        table.row(["x", "1"]);
        table.row(["y", ""]);
        let text = table.to_string();
        assert_eq!(text, "| | b |\n|---|---|\n| x | 1 |\n| y | |\n");
        assert_eq!(rows(&text, &["y"]), [["y", ""]]);
        assert_eq!(rows(&text, &["x", "1"]), [["x", "1"]]);
        assert!(rows(&text, &["z"]).is_empty());
        assert_eq!(
            Table::of_figures(["a", "b", "c"]).to_string(),
            "| a | b | c |\n|---|--:|--:|\n"
        );
    }

    /// The documents that tests write, as they are.
    const DOCUMENTS: [&str; 8] = [
        include_str!("../../docs/bench.md"),
        include_str!("../../docs/clients.md"),
        include_str!("../../docs/crash-dax.md"),
        include_str!("../../docs/crash.md"),
        include_str!("../../docs/filesystems.md"),
        include_str!("../../docs/modes.md"),
        include_str!("../../docs/platforms.md"),
        include_str!("../../docs/programs.md"),
    ];

    #[test]
    fn every_table_of_the_documents_is_written_the_same_again() {
        for document in DOCUMENTS {
            let lines: Vec<&str> = document.lines().collect();
            let is_row = |line: &str| line.starts_with('|');
            let blocks = lines.chunk_by(|a, b| is_row(a) == is_row(b));
            let tables = blocks.filter(|block| is_row(block[0]));
            let mut count = 0;
            for lines in tables {
                let text = lines.join("\n") + "\n";
                let cells = rows(&text, &[]);
                let heads = &cells[0];
                let mut again = match lines[1].contains(':') {
                    true => Table::of_figures(heads),
                    false => Table::new(heads),
                };
                cells[2..].iter().for_each(|row| again.row(row));
                assert_eq!(again.to_string(), text);
                count += 1;
            }
            assert_ne!(count, 0, "{}", lines[0]);
        }
    }

    #[test]
    #[should_panic(expected = "cells in")]
    fn a_row_has_a_cell_for_each_head() {
        Table::new(["a", "b"]).row(["x"]);
    }
}
