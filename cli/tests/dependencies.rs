//! All that is depended on comes from crates.io and under a licence that `deny.toml` allows; for
//! machines without cargo-deny.

use serde_json::Value;
use std::process::Command;

#[test]
fn licences_and_sources_are_allowed() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let deny = std::fs::read_to_string(format!("{root}/deny.toml")).unwrap();
    let deny: toml::Value = toml::from_str(&deny).unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap();
    let allowed: Vec<spdx::Licensee> = allowed
        .iter()
        .map(|licence| spdx::Licensee::parse(licence.as_str().unwrap()).unwrap())
        .collect();

    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--manifest-path",
        ])
        .arg(format!("{root}/Cargo.toml"))
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();

    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = format!("{} {}", package["name"], package["version"]);
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.contains("crates.io")) {
            complaints.push(format!("{name} comes from {source:?}"));
        }
        let licence = package["license"].as_str().unwrap_or("none");
        // Old crates write a slash for OR.
        let fine =
            spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).is_ok_and(|licence| {
                licence.evaluate(|required| allowed.iter().any(|one| one.satisfies(required)))
            });
        if !fine {
            complaints.push(format!("{name} is under {licence}"));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}
