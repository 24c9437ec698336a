use serde_json::{Value, json};

use super::*;

/// As the sources read a document: YAML into a value, and that with the path of what is wrong.
fn read(yaml: &str) -> Result<Middleware, String> {
    let value: Value = serde_saphyr::from_str(yaml).unwrap();
    serde_path_to_error::deserialize(value).map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

fn spec(yaml: &str) -> MiddlewareSpec {
    let indented = yaml.lines().map(|line| format!("  {line}\n")).collect::<String>();
    read(&format!("metadata: {{name: x}}\nspec:\n{indented}")).unwrap().spec
}

#[test]
fn the_sticky_document() {
    let read = read(
        "apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata:
  name: sticky-sessions
  namespace: default
  managedFields: []
spec:
  sticky:
    cookie:
      name: sticky
      secure: true
      sameSite: lax
",
    )
    .unwrap();
    assert_eq!((&*read.meta.namespace, &*read.meta.name), ("default", "sticky-sessions"));
    let cookie = Cookie {
        name: Some("sticky".to_owned()),
        secure: Some(true),
        same_site: Some(SameSite::Lax),
        ..Cookie::default()
    };
    assert_eq!(read.spec.sticky, Some(Sticky { cookie: Some(cookie) }));
    assert_eq!(read.spec.kinds(), ["sticky"]);
    assert_eq!(read.unknown, [""; 0]);
}

#[test]
fn every_type_is_recognised_by_its_name() {
    let schema = serde_json::to_value(schemars::schema_for!(MiddlewareSpec)).unwrap();
    let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 27);
    for name in names {
        let one: Middleware = serde_json::from_value(json!({ "spec": { name: {} } })).unwrap();
        assert_eq!(one.spec.kinds(), [name.as_str()]);
        assert_eq!(one.unknown, [""; 0], "{name}");
        let none: Middleware = serde_json::from_value(json!({ "spec": { name: null } })).unwrap();
        assert_eq!(none.spec.kinds(), [""; 0], "{name}: null");
    }
    assert_eq!(spec("rateLimit: {average: 5}\nchain: {middlewares: []}").kinds(), ["chain", "rateLimit"]);
}

#[test]
fn every_field_of_headers_is_known() {
    let read = read(
        "spec:
  headers:
    customRequestHeaders: {X-A: '1', X-B: ''}
    customResponseHeaders: {X-C: '2'}
    accessControlAllowCredentials: true
    accessControlAllowHeaders: [X-D]
    accessControlAllowMethods: [GET]
    accessControlAllowOriginList: ['https://a.example']
    accessControlAllowOriginListRegex: ['^https://']
    accessControlExposeHeaders: [X-E]
    accessControlMaxAge: 0
    addVaryHeader: true
    allowedHosts: [a.example]
    hostsProxyHeaders: [X-Forwarded-Host]
    sslRedirect: true
    sslTemporaryRedirect: false
    sslHost: a.example
    sslProxyHeaders: {X-Forwarded-Proto: https}
    sslForceHost: false
    stsSeconds: 31536000
    stsIncludeSubdomains: true
    stsPreload: true
    forceSTSHeader: true
    frameDeny: true
    customFrameOptionsValue: SAMEORIGIN
    contentTypeNosniff: true
    browserXssFilter: true
    customBrowserXSSValue: '0'
    contentSecurityPolicy: default-src 'self'
    contentSecurityPolicyReportOnly: default-src 'none'
    publicKey: pin
    referrerPolicy: no-referrer
    featurePolicy: x
    permissionsPolicy: camera=()
    isDevelopment: false
",
    )
    .unwrap();
    assert_eq!(read.unknown, [""; 0]);
    let headers = read.spec.headers.as_ref().unwrap();
    let all = serde_json::to_value(headers).unwrap();
    assert!(all.as_object().unwrap().values().all(|value| !value.is_null()), "{all}");
    assert_eq!(all.as_object().unwrap().len(), 33);
    assert!(!headers.is_empty() && Headers::default().is_empty());
    let fields: Vec<String> = read.spec.without_effect().into_iter().map(|found| found.field).collect();
    assert_eq!(
        fields,
        ["featurePolicy", "sslRedirect", "sslTemporaryRedirect", "sslHost", "sslForceHost"]
            .map(|name| format!("spec.headers.{name}"))
    );
}

#[test]
fn the_other_types() {
    assert_eq!(
        spec("redirectScheme: {scheme: https, port: '8443', permanent: true}").redirect_scheme,
        Some(RedirectScheme { scheme: Some("https".to_owned()), port: Some("8443".to_owned()), permanent: Some(true) })
    );
    assert_eq!(spec("redirectScheme: {port: 8443}").redirect_scheme.unwrap().port.as_deref(), Some("8443"));
    assert_eq!(spec("redirectScheme: {port: null}").redirect_scheme.unwrap().port, None);
    assert_eq!(
        spec("basicAuth: {secret: users, realm: r, removeHeader: true, headerField: X-User}").basic_auth,
        Some(BasicAuth {
            secret: Some("users".to_owned()),
            realm: Some("r".to_owned()),
            remove_header: Some(true),
            header_field: Some("X-User".to_owned()),
        })
    );
    let chain = spec("chain: {middlewares: [{name: a}, {name: b, namespace: other}]}").chain.unwrap();
    assert_eq!(
        chain.middlewares.unwrap(),
        [
            MiddlewareRef { name: "a".to_owned(), namespace: None },
            MiddlewareRef { name: "b".to_owned(), namespace: Some("other".to_owned()) },
        ]
    );
}

#[test]
fn durations_and_ports_are_whole_numbers_or_text() {
    let retry = spec("retry: {timeout: 60, initialInterval: 100ms}").retry.unwrap();
    assert_eq!(retry.timeout, Some(Duration(IntOrString::Int(60))));
    assert_eq!(retry.initial_interval, Some(Duration(IntOrString::Text("100ms".to_owned()))));
    let errors = |port: &str| spec(&format!("errors: {{service: {{name: x, port: {port}}}}}")).errors.unwrap();
    assert_eq!(errors("80").service.unwrap().port.unwrap().to_string(), "80");
    assert_eq!(errors("http").service.unwrap().port, Some(IntOrString::Text("http".to_owned())));
}

#[test]
fn nothing_set() {
    for yaml in ["metadata: {name: x}", "spec:", "spec: {}", "spec: {headers: null}"] {
        assert_eq!(read(yaml).unwrap().spec.kinds(), [""; 0], "{yaml}");
    }
    assert_eq!(spec("headers: {}").headers, Some(Box::default()));
    assert_eq!(spec("sticky: {}").without_effect().len(), 1);
    assert_eq!(spec("sticky: {cookie: {}}").without_effect(), []);
}

#[test]
fn unknown_fields_are_told_and_cost_nothing() {
    let read = read(
        "extra: 1
metadata: {name: x, generation: 4}
spec:
  headers: {frameDenny: true, frameDeny: true}
  chain: {middlewares: [{name: a}, {name: b, nmaespace: c}]}
  plugin: {name: {it: holds}}
  stiky: {cookie: {}}
",
    )
    .unwrap();
    assert_eq!(read.unknown, ["spec.chain.middlewares.1.nmaespace", "spec.headers.frameDenny", "spec.stiky"]);
    assert_eq!(read.spec.headers.unwrap().frame_deny, Some(true));
}

#[test]
fn a_wrong_shape_says_where() {
    for (yaml, path) in [
        ("spec: {sticky: {cookie: {secure: 'yes'}}}", "spec.sticky.cookie.secure"),
        ("spec: {sticky: {cookie: {sameSite: loose}}}", "spec.sticky.cookie.sameSite"),
        ("spec: {sticky: {cookie: {maxAge: soon}}}", "spec.sticky.cookie.maxAge"),
        ("spec: {sticky: true}", "spec.sticky"),
        ("spec: {redirectScheme: {port: [1]}}", "spec.redirectScheme.port"),
        ("spec: {stripPrefix: {prefixes: /a}}", "spec.stripPrefix.prefixes"),
        ("spec: {chain: {middlewares: [{namespace: a}]}}", "spec.chain.middlewares[0]"),
        ("spec: {headers: {customRequestHeaders: {X-A: 1}}}", "spec.headers.customRequestHeaders.X-A"),
        ("spec: {compress: true}", "spec.compress"),
        ("spec: {retry: {timeout: 1.5}}", "spec.retry.timeout"),
        ("spec: {rateLimit: {redis: {endpoints: x}}}", "spec.rateLimit.redis.endpoints"),
        ("spec: {errors: {service: {name: x, strategy: random}}}", "spec.errors.service.strategy"),
        ("spec: {errors: {service: {port: 80}}}", "spec.errors.service"),
        ("spec: {plugin: [x]}", "spec.plugin"),
        ("spec: []", "spec"),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.starts_with(&format!("{path}: ")), "{yaml}: {error}");
    }
    assert!(read("spec: {redirectScheme: {port: 1.5}}").unwrap_err().contains("a string or a whole number"));
}

#[test]
fn same_site_is_read_in_any_letter_case() {
    for (word, expected) in [("none", SameSite::None), ("Lax", SameSite::Lax), ("STRICT", SameSite::Strict)] {
        let cookie = spec(&format!("sticky: {{cookie: {{sameSite: {word}}}}}")).sticky.unwrap().cookie.unwrap();
        assert_eq!(cookie.same_site, Some(expected), "{word}");
    }
}

#[test]
fn headers_that_do_nothing_without_others_are_told() {
    for (yaml, fields) in [
        (
            "stsPreload: true, stsIncludeSubdomains: true, forceSTSHeader: true, sslProxyHeaders: {X-A: https}",
            &["stsIncludeSubdomains", "stsPreload", "forceSTSHeader", "sslProxyHeaders"][..],
        ),
        ("stsSeconds: 1, stsPreload: true, sslProxyHeaders: {X-A: https}", &[]),
        ("stsPreload: false, frameDeny: true", &[]),
        ("hostsProxyHeaders: [X-Host]", &["hostsProxyHeaders"]),
        ("hostsProxyHeaders: [X-Host], allowedHosts: [a]", &[]),
        (
            "accessControlAllowMethods: [GET], accessControlMaxAge: 1",
            &["accessControlAllowMethods", "accessControlMaxAge"],
        ),
        ("accessControlAllowMethods: [GET], accessControlAllowOriginListRegex: [a]", &[]),
        ("accessControlAllowCredentials: true, accessControlExposeHeaders: [X]", &[]),
        ("customRequestHeaders: {connection: keep-alive, X-A: b}", &["customRequestHeaders.connection"]),
    ] {
        let spec = spec(&format!("headers: {{{yaml}}}"));
        let found: Vec<String> = spec.without_effect().into_iter().map(|found| found.field).collect();
        let fields: Vec<String> = fields.iter().map(|name| format!("spec.headers.{name}")).collect();
        assert_eq!(found, fields, "{yaml}");
    }
    assert_eq!(spec("inFlightReq: {}").without_effect().len(), 1);
    assert_eq!(spec("inFlightReq: {amount: 0}").without_effect(), []);
}

#[test]
fn prefixes_that_never_match_are_told() {
    assert_eq!(spec("stripPrefix: {}").without_effect().len(), 1);
    let found = spec("stripPrefix: {prefixes: [/a, b], forceSlash: true}").without_effect();
    let fields: Vec<&str> = found.iter().map(|found| found.field.as_str()).collect();
    assert_eq!(fields, ["spec.stripPrefix.forceSlash", "spec.stripPrefix.prefixes[1]"]);
}

#[test]
fn secrets_of_those_that_ask_who_the_client_is() {
    for (yaml, secrets) in [
        ("basicAuth: {secret: users}", &["users"][..]),
        ("digestAuth: {secret: users}", &["users"]),
        ("digestAuth: {realm: x}", &[]),
        ("forwardAuth: {address: https://auth, tls: {caSecret: ca, certSecret: own}}", &["ca", "own"]),
        ("forwardAuth: {address: https://auth, tls: {certSecret: own}}", &["own"]),
        ("forwardAuth: {address: http://auth}", &[]),
    ] {
        assert_eq!(spec(yaml).secrets(), secrets, "{yaml}");
    }
}

#[test]
fn what_the_others_make_idle_is_told() {
    for (yaml, fields) in [
        (
            "forwardAuth: {address: https://auth, maxBodySize: -1, forwardBody: true, tls: {insecureSkipVerify: true}}",
            &[][..],
        ),
        ("forwardAuth: {address: https://auth, maxBodySize: 1}", &["forwardAuth.maxBodySize"]),
        ("forwardAuth: {address: HTTP://auth, tls: {}}", &["forwardAuth.tls"]),
        ("forwardAuth: {address: https://auth, tls: {caOptional: false}}", &["forwardAuth.tls.caOptional"]),
        ("passTLSClientCert: {}", &["passTLSClientCert"]),
        ("passTLSClientCert: {pem: false}", &["passTLSClientCert"]),
        ("passTLSClientCert: {pem: true}", &[]),
        ("passTLSClientCert: {pem: true, info: {}}", &["passTLSClientCert.info"]),
        ("passTLSClientCert: {info: {subject: {country: false}}}", &["passTLSClientCert.info"]),
        ("passTLSClientCert: {info: {subject: {country: true}}}", &[]),
        ("passTLSClientCert: {info: {issuer: {domainComponent: true}}}", &[]),
    ] {
        let found: Vec<String> = spec(yaml).without_effect().into_iter().map(|found| found.field).collect();
        assert_eq!(found, fields.iter().map(|field| format!("spec.{field}")).collect::<Vec<_>>(), "{yaml}");
    }
}

#[test]
fn origins_that_no_browser_sends_are_told() {
    let told = |origin: &str| spec(&format!("grpcWeb: {{allowOrigins: ['{origin}']}}")).without_effect().len();
    for good in ["*", "null", "https://a.test", "http://a.test:8080", "http://[::1]:80", "moz-extension://a-b"] {
        assert_eq!(told(good), 0, "{good}");
    }
    for odd in ["", "a.test", "https://", "https://a.test/", "https://A.test", "https://*.a.test", "https://a.test/x"] {
        assert_eq!(told(odd), 1, "{odd}");
    }
}
