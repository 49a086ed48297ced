//! Texts and bytes as a report shows them.

use std::fmt::Write as _;

/// At most `bytes` of a text.
pub fn short(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    match end < text.len() {
        true => format!("{}...", &text[..end]),
        false => text.to_owned(),
    }
}

/// Bytes in hexadecimal, and as text where they are printable ASCII.
pub fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x} ");
    }
    let shown = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    });
    format!("{text:48} |{}|", shown.collect::<String>())
}
