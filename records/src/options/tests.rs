use super::*;

fn parse<'a>(pairs: &[(&str, &'a str)]) -> (Settings<'a>, Vec<String>) {
    let mut complaints = Vec::new();
    let settings = Settings::parse(
        &|o| {
            let value = pairs.iter().find(|(env, _)| *env == o.env)?.1;
            Some(value.as_bytes())
        },
        &mut |bad| complaints.push(bad.to_string()),
    );
    (settings, complaints)
}

#[test]
fn defaults_are_those_of_the_table_and_valid() {
    let (settings, complaints) = parse(&[]);
    assert_eq!(complaints, [""; 0]);
    assert_eq!(settings, Settings::default());
    for option in OPTIONS {
        let (given, complaints) = parse(&[(option.env, option.default)]);
        assert_eq!(complaints, [""; 0]);
        assert_eq!(given, settings, "{}", option.name);
        if let Values::Choice(words) = option.values {
            assert_eq!(
                words[0], option.default,
                "the default of {} comes first",
                option.name
            );
        }
    }
}

#[test]
fn each_field_is_read_from_its_own_variable() {
    let (s, complaints) = parse(&[
        ("KEEPMYDATA_PRESET", "database"),
        ("KEEPMYDATA_ENFORCE", "off"),
        ("KEEPMYDATA_ASYNC", "sync"),
        ("KEEPMYDATA_MUNMAP", "sync"),
        ("KEEPMYDATA_PREALLOC", "on"),
        ("KEEPMYDATA_INVALIDATE", "off"),
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_DEADLINE_MS", "17"),
        ("KEEPMYDATA_UNCERTAIN", "error"),
        ("KEEPMYDATA_ON_FAILURE", "abort"),
        ("KEEPMYDATA_READ", "pass"),
        ("KEEPMYDATA_SEEN_BY", "/a=/b"),
        ("KEEPMYDATA_TRACK", "whole"),
        ("KEEPMYDATA_FILES", "*.db"),
        ("KEEPMYDATA_COPY_BUDGET", "8K"),
        ("KEEPMYDATA_REVERIFY_MS", "5"),
        ("KEEPMYDATA_LOG", "trace"),
        ("KEEPMYDATA_LOG_FILE", "/tmp/%p"),
        ("KEEPMYDATA_LOG_FORMAT", "json"),
    ]);
    assert_eq!(complaints, [""; 0]);
    assert_eq!(
        s.to_string(),
        "preset=database enforce=off async=sync munmap=sync prealloc=on invalidate=off verify=on \
         deadline-ms=17 uncertain=error on-failure=abort read=pass seen-by=/a=/b track=whole files=*.db \
         copy-budget=8K reverify-ms=5 log=trace log-file=/tmp/%p log-format=json"
    );
}

/// The settings that a preset names, as they are in effect.
fn preset_in_effect(settings: &Settings) -> [&'static str; 3] {
    let Settings {
        async_,
        invalidate,
        read,
        ..
    } = settings;
    [async_.word(), invalidate.word(), read.word()]
}

#[test]
fn the_preset_of_tests_is_the_default() {
    for (name, value) in Preset::Tests.settings() {
        let option = OPTIONS.iter().find(|option| option.name == *name);
        assert_eq!(option.expect("an option").default, *value, "{name}");
    }
    let (given, complaints) = parse(&[("KEEPMYDATA_PRESET", "tests")]);
    assert_eq!((given, complaints), parse(&[]));
    assert_eq!(preset_in_effect(&given), ["pass", "file", "fresh"]);
}

#[test]
fn the_preset_of_databases_changes_what_it_names_and_nothing_else() {
    let (given, complaints) = parse(&[("KEEPMYDATA_PRESET", "database")]);
    assert_eq!(complaints, [""; 0]);
    assert_eq!(preset_in_effect(&given), ["pass", "dirty", "pass"]);
    let expected = Settings {
        preset: Preset::Database,
        invalidate: Invalidate::Dirty,
        read: Read::Pass,
        ..Settings::default()
    };
    assert_eq!(given, expected);
}

#[test]
fn a_single_setting_wins_over_the_preset_and_a_bad_one_falls_back_to_it() {
    let preset = ("KEEPMYDATA_PRESET", "database");
    let (given, _) = parse(&[preset, ("KEEPMYDATA_READ", "fresh")]);
    assert_eq!(preset_in_effect(&given), ["pass", "dirty", "fresh"]);
    let (given, _) = parse(&[("KEEPMYDATA_INVALIDATE", "file"), preset]);
    assert_eq!(preset_in_effect(&given), ["pass", "file", "pass"]);
    let (given, complaints) = parse(&[preset, ("KEEPMYDATA_INVALIDATE", "all")]);
    assert_eq!(preset_in_effect(&given), ["pass", "dirty", "pass"]);
    let complaint = "KEEPMYDATA_INVALIDATE=all: must be one of file, dirty, off; using dirty";
    assert_eq!(complaints, [complaint]);
    let (given, complaints) = parse(&[("KEEPMYDATA_PRESET", "databases")]);
    assert_eq!(given, Settings::default());
    let complaint = "KEEPMYDATA_PRESET=databases: must be one of tests, database; using tests";
    assert_eq!(complaints, [complaint]);
}

#[test]
fn presets_set_known_options_to_accepted_values() {
    // `Settings::parse` looks there for the preset.
    assert_eq!(OPTIONS[0].name, "preset");
    for preset in Preset::ALL {
        for (name, value) in preset.settings() {
            let option = OPTIONS.iter().find(|option| option.name == *name);
            let option = option.unwrap_or_else(|| panic!("{preset} sets {name}"));
            assert!(option.values.accept(value.as_bytes()), "{name}={value}");
            let shown = format!("{name}={value}");
            // What is the default goes without saying.
            let said = OPTIONS[0].long_help.contains(&shown) || *value == option.default;
            assert!(said, "--help says {shown}");
        }
    }
}

#[test]
fn a_bad_value_is_named_and_the_default_holds() {
    let (settings, complaints) = parse(&[
        ("KEEPMYDATA_VERIFY", "yes"),
        ("KEEPMYDATA_DEADLINE_MS", "2s"),
        ("KEEPMYDATA_FILES", "a[b"),
    ]);
    assert_eq!(settings, Settings::default());
    assert_eq!(
        complaints,
        [
            "KEEPMYDATA_VERIFY=yes: must be one of auto, on, off; using auto",
            "KEEPMYDATA_DEADLINE_MS=2s: must be a whole number of milliseconds; using 2000",
            "KEEPMYDATA_FILES=a[b: must be globs separated by commas or colons, \
             each [ closed by a ]; using the default",
        ]
    );
}

#[test]
fn a_value_that_is_no_text_does_not_break_the_message() {
    let mut complaints = Vec::new();
    Settings::parse(
        &|o| (o.name == "log").then_some(b"in\xfffo\n".as_slice()),
        &mut |bad| complaints.push(bad.to_string()),
    );
    assert_eq!(
        complaints,
        [
            "KEEPMYDATA_LOG=in\u{fffd}fo\\n: must be one of error, off, warn, info, debug, \
          trace; using error"
        ]
    );
}

#[test]
fn names_and_variables_belong_together() {
    for option in OPTIONS {
        let env = format!(
            "KEEPMYDATA_{}",
            option.name.to_uppercase().replace('-', "_")
        );
        assert_eq!(option.env, env);
        assert!(!option.help.ends_with('.') && option.long_help.ends_with('.'));
    }
}

#[test]
fn log_levels_allow_what_is_graver() {
    assert!(!LogLevel::Off.allows(Level::Error));
    assert!(LogLevel::Error.allows(Level::Error) && !LogLevel::Error.allows(Level::Warn));
    assert!(LogLevel::Debug.allows(Level::Info) && !LogLevel::Debug.allows(Level::Trace));
    assert!(LogLevel::Trace.allows(Level::Trace));
}
