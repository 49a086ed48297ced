//! What the table finds under that name in the shim.

/// The table never looks into a file.
pub mod file {
    pub struct File;
}

#[path = "../../../src/mappings/table.rs"]
pub mod table;
