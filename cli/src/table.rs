//! Text in columns.

use std::fmt;

/// Cells up to this wide are aligned; what is wider pushes its own row only.
const WIDE: usize = 32;

/// Rows of cells, printed with columns aligned and two spaces between them.
#[derive(Default)]
pub struct Table {
    indent: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn indented(indent: usize) -> Self {
        Table {
            indent,
            rows: Vec::new(),
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [impl Into<String>; N]) {
        self.rows.push(cells.map(Into::into).into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(|cell| cell.chars().count());
            widths.filter(|&width| width <= WIDE).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (cell, width) in row.iter().zip(&widths) {
                line += &format!("{cell:width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::indented(2);
        table.row(["a", "bc", ""]);
        table.row(["def", "g"]);
        assert_eq!(table.to_string(), "  a    bc\n  def  g\n");
    }
}
