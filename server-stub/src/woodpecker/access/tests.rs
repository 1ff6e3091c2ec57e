use super::{Access, Metadata, Refusal, TOKEN_LIFE};

const NOW: i64 = 1000;

fn metadata(token: Option<String>, proto_version: Option<&str>) -> Metadata {
    Metadata { token, hostname: None, proto_version: proto_version.map(str::to_owned) }
}

#[test]
fn asks_for_a_token_first_and_for_the_protocol_then() {
    let access = Access::new(None, 0);
    let good = || Some(access.issue(7, NOW));
    let other = Refusal::OtherVersion { agent: 15, server: 16 };
    for (token, version, expected) in [
        (good(), None, Ok(7)),
        (good(), Some("16"), Ok(7)),
        (good(), Some("15"), Err(other)),
        (good(), Some("17"), Err(Refusal::OtherVersion { agent: 17, server: 16 })),
        (good(), Some("sixteen"), Err(Refusal::NoVersion("sixteen".to_owned()))),
        (good(), Some(""), Err(Refusal::NoVersion(String::new()))),
        (good(), Some("4294967312"), Err(Refusal::NoVersion("4294967312".to_owned()))),
        (None, None, Err(Refusal::NoToken)),
        (None, Some("15"), Err(Refusal::NoToken)),
        (Some(String::new()), Some("15"), Err(Refusal::BadToken("token is malformed"))),
        (Some("7.1000.abc".to_owned()), None, Err(Refusal::BadToken("signature is invalid"))),
        (Some("a.b.c".to_owned()), None, Err(Refusal::BadToken("token is malformed"))),
        (good().map(|token| token + ".d"), None, Err(Refusal::BadToken("token is malformed"))),
        (good().map(|token| token.replacen('7', "8", 1)), None, Err(Refusal::BadToken("signature is invalid"))),
    ] {
        assert_eq!(access.authorize(&metadata(token.clone(), version), 16, NOW), expected, "{token:?} {version:?}");
    }
}

#[test]
fn a_token_is_good_for_an_hour() {
    let access = Access::new(None, 0);
    let given = metadata(Some(access.issue(7, NOW)), None);
    for (now, expected) in [
        (NOW - 1, Err(Refusal::BadToken("token is not valid yet"))),
        (NOW, Ok(7)),
        (NOW + TOKEN_LIFE - 1, Ok(7)),
        (NOW + TOKEN_LIFE, Err(Refusal::BadToken("token is expired"))),
    ] {
        assert_eq!(access.authorize(&given, 16, now), expected, "at {now}");
    }
}

#[test]
fn a_restart_makes_tokens_invalid_unless_the_secret_is_fixed() {
    for (fixed, survives) in [(None, false), (Some("secret"), true)] {
        let mut access = Access::new(fixed, 0);
        let given = metadata(Some(access.issue(7, NOW)), None);
        access.restart();
        assert_eq!(access.authorize(&given, 16, NOW).is_ok(), survives, "{fixed:?}");
        access.invalidate();
        assert!(access.authorize(&given, 16, NOW).is_err());
    }
}

#[test]
fn servers_take_their_own_tokens_only() {
    let given = metadata(Some(Access::new(None, 0).issue(7, NOW)), None);
    assert!(Access::new(None, 1).authorize(&given, 16, NOW).is_err());
}
