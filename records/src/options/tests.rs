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
        ("KEEPMYDATA_ENFORCE", "off"),
        ("KEEPMYDATA_ASYNC", "sync"),
        ("KEEPMYDATA_MUNMAP", "sync"),
        ("KEEPMYDATA_PREALLOC", "on"),
        ("KEEPMYDATA_INVALIDATE", "dirty"),
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_DEADLINE_MS", "17"),
        ("KEEPMYDATA_UNCERTAIN", "error"),
        ("KEEPMYDATA_ON_FAILURE", "abort"),
        ("KEEPMYDATA_READ", "pass"),
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
        "enforce=off async=sync munmap=sync prealloc=on invalidate=dirty verify=on \
         deadline-ms=17 uncertain=error on-failure=abort read=pass track=whole files=*.db copy-budget=8K \
         reverify-ms=5 log=trace log-file=/tmp/%p log-format=json"
    );
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
