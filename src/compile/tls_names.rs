//! Names of TLS versions, cipher suites and curves, as Traefik writes them (and Go calls them) → what is spoken. What Go speaks
//! and Headgate does not is left out and told, never silently: it only makes a handshake stricter.

use super::wrong::Wrong;
use crate::balance::transport::{Version, Versions};

/// Cipher suites that are spoken, with their IANA numbers.
const SPOKEN: [(&str, u16); 11] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", 0xcca9),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", 0xcca8),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8),
    ("TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_AES_256_GCM_SHA384", 0x1302),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
];

/// Those of TLS 1.3, which Go has always on, whatever the list says.
const OF_TLS13: [u16; 3] = [0x1301, 0x1302, 0x1303];

/// Cipher suites that Traefik knows and Headgate does not speak: without forward secrecy, or broken.
const UNSPOKEN: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Curves that are spoken, with their IANA numbers, in the spellings that Traefik knows.
const CURVES: [(&[&str], u16); 5] = [
    (&["CurveP256", "secp256r1"], 0x0017),
    (&["CurveP384", "secp384r1"], 0x0018),
    (&["X25519", "x25519"], 0x001d),
    (&["SecP256r1MLKEM768", "secp256r1mlkem768"], 0x11eb),
    (&["X25519MLKEM768", "x25519mlkem768"], 0x11ec),
];

/// Curves that Traefik knows and Headgate does not speak.
const UNSPOKEN_CURVES: [&str; 4] = ["CurveP521", "secp521r1", "SecP384r1MLKEM1024", "secp384r1mlkem1024"];

/// A field whose value has no effect, or only a part of it: field below `spec`, and why.
pub(super) type Quiet = (String, String);

/// `minVersion` and `maxVersion`; empty ones are none. Each alone works, unlike in Traefik, where a minimum without a
/// maximum is an error.
pub(super) fn versions(min: Option<&str>, max: Option<&str>) -> Result<(Versions, Option<Quiet>), Wrong> {
    const HELP: &str = "write VersionTLS12 or VersionTLS13";
    let read = |field: &str, name: &str| match name {
        "VersionTLS13" => Ok(Some(Version::Tls13)),
        "VersionTLS12" => Ok(Some(Version::Tls12)),
        "VersionTLS10" | "VersionTLS11" => Ok(None),
        _ => Err(Wrong::of(field, format!("{name:?} is no version of TLS"), HELP)),
    };
    let given = |name: Option<&'_ str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
    let (mut versions, mut quiet) = (Versions::default(), None);
    if let Some(name) = given(min) {
        match read("minVersion", &name)? {
            Some(version) => versions.oldest = version,
            None => quiet = Some(("minVersion".to_owned(), format!("{name} is not spoken: TLS 1.2 is the lowest"))),
        }
    }
    if let Some(name) = given(max) {
        let wrong = || Wrong::of("maxVersion", format!("{name} is not spoken: TLS 1.2 is the lowest"), HELP);
        versions.newest = read("maxVersion", &name)?.ok_or_else(wrong)?;
    }
    if versions.oldest > versions.newest {
        return Err(Wrong::of("minVersion", "minVersion is above maxVersion, so that no version is left", HELP));
    }
    Ok((versions, quiet))
}

/// `cipherSuites` → IANA numbers, those of TLS 1.3 among them; an empty list is none.
pub(super) fn suites(names: &[String], versions: Versions) -> Result<(Option<Vec<u16>>, Vec<Quiet>), Wrong> {
    if names.is_empty() {
        return Ok((None, Vec::new()));
    }
    let (mut spoken, mut quiet) = (OF_TLS13.to_vec(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        let field = format!("cipherSuites[{index}]");
        if let Some((_, number)) = SPOKEN.iter().find(|(known, _)| known == name) {
            spoken.push(*number);
        } else if name == "TLS_FALLBACK_SCSV" {
            // RFC 7507; Traefik takes it in the list, too.
            quiet.push((field, format!("{name} is a signal of clients and no suite")));
        } else if UNSPOKEN.contains(&name.as_str()) {
            quiet.push((field, format!("{name} is not spoken, because it is too weak")));
        } else {
            let help = "write its name as Go does, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
            return Err(Wrong::of(field, format!("{name:?} is no cipher suite"), help));
        }
    }
    let of_tls12 = spoken.iter().any(|number| !OF_TLS13.contains(number));
    if !of_tls12 && !versions.has(Version::Tls13) {
        let known = SPOKEN.iter().filter(|(name, number)| !OF_TLS13.contains(number) && !name.ends_with("POLY1305"));
        let known: Vec<&str> = known.map(|(name, _)| *name).collect();
        let help = format!("name one that is: {}", known.join(", "));
        return Err(Wrong::of(
            "cipherSuites",
            "none of the cipherSuites is spoken in TLS 1.2, and no other version is left",
            help,
        ));
    }
    spoken.sort_unstable();
    spoken.dedup();
    Ok((Some(spoken), quiet))
}

/// `curvePreferences` → IANA numbers in their order; an empty list is none.
pub(super) fn curves(names: &[String]) -> Result<(Option<Vec<u16>>, Vec<Quiet>), Wrong> {
    const HELP: &str = "write X25519MLKEM768, X25519, CurveP256 or CurveP384";
    let (mut spoken, mut quiet) = (Vec::new(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        let field = format!("curvePreferences[{index}]");
        if let Some((_, number)) = CURVES.iter().find(|(spellings, _)| spellings.contains(&name.as_str())) {
            if !spoken.contains(number) {
                spoken.push(*number);
            }
        } else if UNSPOKEN_CURVES.contains(&name.as_str()) {
            quiet.push((field, format!("{name} is not spoken")));
        } else {
            return Err(Wrong::of(field, format!("{name:?} is no curve"), HELP));
        }
    }
    if spoken.is_empty() && !names.is_empty() {
        return Err(Wrong::of("curvePreferences", "none of them is spoken", HELP));
    }
    Ok(((!spoken.is_empty()).then_some(spoken), quiet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_of_versions_works_alone() {
        let (v12, v13) = (Version::Tls12, Version::Tls13);
        for (min, max, expected) in [
            (None, None, (v12, v13)),
            (Some(""), Some(""), (v12, v13)),
            (Some("VersionTLS12"), None, (v12, v13)),
            (Some("VersionTLS13"), None, (v13, v13)),
            (None, Some("VersionTLS12"), (v12, v12)),
            (Some("VersionTLS12"), Some("VersionTLS12"), (v12, v12)),
            (Some("VersionTLS10"), None, (v12, v13)),
        ] {
            let (versions, quiet) = versions(min, max).unwrap();
            assert_eq!((versions.oldest, versions.newest), expected, "{min:?} {max:?}");
            assert_eq!(quiet.is_some(), min == Some("VersionTLS10"));
        }
        for (min, max, field) in [
            (Some("VersionTLS13"), Some("VersionTLS12"), "minVersion"),
            (Some("1.2"), None, "minVersion"),
            (None, Some("VersionTLS11"), "maxVersion"),
            (None, Some("tls13"), "maxVersion"),
        ] {
            assert_eq!(versions(min, max).unwrap_err().field, field, "{min:?} {max:?}");
        }
    }

    #[test]
    fn suites_of_tls_13_stay_and_weak_ones_are_told() {
        let of =
            |names: &[&str], versions| suites(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), versions);
        let (all, only12) = (Versions::default(), Versions { oldest: Version::Tls12, newest: Version::Tls12 });
        let good = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305";
        let weak = "TLS_RSA_WITH_AES_128_CBC_SHA";
        assert_eq!(of(&[], all).unwrap().0, None);
        assert_eq!(of(&[good], all).unwrap().0, Some(vec![0x1301, 0x1302, 0x1303, 0xcca8]));
        let (spoken, quiet) = of(&[weak, good], only12).unwrap();
        assert_eq!((spoken.unwrap().len(), quiet.len(), quiet[0].0.as_str()), (4, 1, "cipherSuites[0]"));
        assert_eq!(of(&[weak], all).unwrap().0, Some(OF_TLS13.to_vec()));
        let (_, quiet) = of(&[good, "TLS_FALLBACK_SCSV"], all).unwrap();
        assert_eq!(quiet[0].1, "TLS_FALLBACK_SCSV is a signal of clients and no suite");
        assert_eq!(of(&[weak, "TLS_AES_128_GCM_SHA256"], only12).unwrap_err().field, "cipherSuites");
        assert_eq!(of(&[good, "AES"], all).unwrap_err().field, "cipherSuites[1]");
    }

    #[test]
    fn curves_keep_their_order() {
        let of = |names: &[&str]| curves(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap().0, None);
        assert_eq!(of(&["X25519", "secp256r1", "CurveP256"]).unwrap().0, Some(vec![0x1d, 0x17]));
        let (spoken, quiet) = of(&["CurveP521", "CurveP384"]).unwrap();
        assert_eq!((spoken, quiet[0].0.as_str()), (Some(vec![0x18]), "curvePreferences[0]"));
        assert_eq!(of(&["CurveP521"]).unwrap_err().field, "curvePreferences");
        assert_eq!(of(&["X25519", "P-256"]).unwrap_err().field, "curvePreferences[1]");
        let known = rustls::crypto::aws_lc_rs::ALL_KX_GROUPS.iter().map(|group| u16::from(group.name()));
        let known: Vec<u16> = known.collect();
        assert!(CURVES.iter().all(|(_, number)| known.contains(number)), "{known:?}");
    }

    #[test]
    fn every_suite_that_is_named_is_one_that_is_spoken() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let spoken: Vec<u16> = provider.cipher_suites.iter().map(|suite| u16::from(suite.suite())).collect();
        assert!(SPOKEN.iter().all(|(_, number)| spoken.contains(number)));
        assert!(spoken.iter().all(|number| SPOKEN.iter().any(|(_, known)| known == number)));
    }
}
