//! What was found, for people and for programs, from the same rows.

use super::conclusion::Conclusion;
use crate::table::Table;
use serde_json::{Map, Value, json};
use std::path::Path;

/// One fact.
#[derive(Clone)]
pub struct Row {
    /// In text; in JSON with underscores for what is no letter or digit.
    pub name: &'static str,
    /// `true` is shown as yes, `false` as no.
    pub value: Value,
    /// What a person wants to know besides; may be empty.
    pub note: String,
}

impl Row {
    pub fn new(name: &'static str, value: impl Into<Value>, note: impl Into<String>) -> Self {
        Row {
            name,
            value: value.into(),
            note: note.into(),
        }
    }

    /// Yes, or no with the reason.
    pub fn result<T>(name: &'static str, result: &Result<T, String>) -> Self {
        match result {
            Ok(_) => Row::new(name, true, ""),
            Err(why) => Row::new(name, false, why),
        }
    }
}

type Sections = [(&'static str, Vec<Row>)];

pub fn text(directory: &Path, sections: &Sections, conclusion: &Conclusion) -> String {
    let mut text = format!("{}\n", directory.display());
    let mut table = Table::indented(2);
    let mut ends = Vec::new();
    for (_, rows) in sections {
        for row in rows {
            table.row([row.name, &shown(&row.value), &row.note]);
        }
        ends.push(rows.len());
    }
    // One table, so that the columns of all sections are the same.
    let table = table.to_string();
    let mut lines = table.lines();
    for ((name, _), rows) in sections.iter().zip(ends) {
        text += &format!("\n{name}\n");
        for line in lines.by_ref().take(rows) {
            text += &format!("{line}\n");
        }
    }
    text += "\n";
    for limit in &conclusion.limits {
        text += &format!("limit: {limit}\n");
    }
    text + &conclusion.sentence() + "\n"
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

pub fn json(directory: &Path, sections: &Sections, conclusion: &Conclusion) -> String {
    let mut object = Map::new();
    object.insert("directory".into(), json!(directory.to_string_lossy()));
    for (name, rows) in sections {
        let facts = rows.iter().map(|row| {
            let key = row
                .name
                .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
                .to_lowercase();
            (key, json!({ "value": row.value, "note": row.note }))
        });
        object.insert((*name).into(), Value::Object(facts.collect()));
    }
    object.insert("limits".into(), json!(conclusion.limits));
    object.insert("conclusion".into(), json!(conclusion.sentence()));
    object.insert("exit_code".into(), json!(conclusion.code()));
    Value::Object(object).to_string()
}
