//! What a change of TLSOptions and of the Secrets that they name comes to.

use super::*;
use crate::table::{TlsOptions, tls::ClientAuth};

fn option(ns: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "traefik.io/v1alpha1", "kind": "TLSOption", "metadata": meta(ns, name), "spec": spec})
}

fn naming(name: &str, host: &str, reference: &str) -> Value {
    annotated(ingress_of("a", name, &[(host, "/")]), "router.tls.options", reference)
}

/// What clients of a host are asked for on `websecure`; nothing where handshakes are refused.
fn asked(compiler: &Compiler, host: &str) -> Option<ClientAuth> {
    compiler.table().tls(1, host).policy.as_ref().ok().map(|policy| policy.terms.client_auth)
}

/// A compiler that takes one object after the other.
struct Rig {
    compiler: Compiler,
    store: Store,
}

impl Rig {
    fn new(objects: &[Value]) -> Self {
        let mut rig = Self { compiler: Compiler::new(claims(), keys()), store: Store::default() };
        rig.put(objects);
        rig
    }

    fn put(&mut self, objects: &[Value]) {
        for value in objects {
            self.store.apply(object(value));
        }
        take(&mut self.compiler, &mut self.store);
    }

    fn delete(&mut self, value: &Value) {
        self.store.delete(&object(value).id());
        take(&mut self.compiler, &mut self.store);
    }

    /// Nothing but that the Services have no pods.
    #[track_caller]
    fn nothing_is_wrong(&self) {
        let wrong: Vec<String> = self.compiler.diagnostics().iter().map(ToString::to_string).collect();
        assert!(wrong.iter().all(|said| said.starts_with("Service ")), "{wrong:#?}");
    }

    fn options(&self, host: &str) -> Arc<TlsOptions> {
        Arc::clone(self.compiler.table().tls(1, host))
    }
}

/// Whether two have one policy, and so one memory of sessions.
fn one_policy(one: &TlsOptions, other: &TlsOptions) -> bool {
    Arc::ptr_eq(one.policy.as_ref().unwrap(), other.policy.as_ref().unwrap())
}

#[test]
fn routes_follow_their_options_and_those_their_secrets() {
    let mutual = option("a", "o", json!({"clientAuth": {"secretNames": ["ca"]}}));
    let ca = secret("a", "ca", &CERTS[0]);
    let mut rig = Rig::new(&[service("a", "s"), naming("i", "x.test", "a-o@kubernetescrd")]);
    assert_eq!(asked(&rig.compiler, "x.test"), None, "no such object");
    rig.put(std::slice::from_ref(&mutual));
    assert_eq!(asked(&rig.compiler, "x.test"), None, "no such Secret");
    assert_eq!(said(&rig.compiler, "SecretNotFound").len(), 1);
    rig.put(std::slice::from_ref(&ca));
    assert_eq!(asked(&rig.compiler, "x.test"), Some(ClientAuth::RequireAndVerify));
    rig.nothing_is_wrong();
    let before = rig.options("x.test");
    rig.put(&[service("a", "t"), ingress_of("a", "other", &[("y.test", "/")])]);
    assert!(one_policy(&before, &rig.options("x.test")), "nothing of it has changed");
    rig.put(&[secret("a", "ca", &CERTS[1])]);
    assert!(!one_policy(&before, &rig.options("x.test")), "no session goes on under other authorities");
    rig.delete(&ca);
    assert_eq!(asked(&rig.compiler, "x.test"), None);
    rig.put(&[option("a", "o", json!({}))]);
    assert_eq!(asked(&rig.compiler, "x.test"), Some(ClientAuth::None));
    rig.delete(&mutual);
    assert_eq!(asked(&rig.compiler, "x.test"), None);
}

#[test]
fn a_name_that_two_objects_have_closes_until_one_is_gone() {
    let twin = option("a-b", "o", json!({}));
    let mut rig = Rig::new(&[
        service("c", "s"),
        annotated(ingress_of("c", "i", &[("x.test", "/")]), "router.tls.options", "a-b-o@kubernetescrd"),
        option("a", "b-o", json!({"clientAuth": {"clientAuthType": "RequestClientCert"}})),
        twin.clone(),
    ]);
    assert_eq!(asked(&rig.compiler, "x.test"), None);
    assert_eq!(said(&rig.compiler, "TLSOptionAmbiguous").len(), 1);
    rig.delete(&twin);
    assert_eq!(asked(&rig.compiler, "x.test"), Some(ClientAuth::Request));
}

#[test]
fn the_default_is_for_hosts_that_name_none_and_of_several_the_strictest_counts() {
    let objects =
        [service("a", "s"), ingress_of("a", "i", &[("x.test", "/")]), naming("n", "y.test", "a-o@kubernetescrd")];
    let mut rig = Rig::new(&objects);
    rig.put(&[option("a", "o", json!({}))]);
    let built_in = rig.options("x.test");
    assert!(one_policy(&built_in, &rig.options("y.test")), "equal terms are one policy");
    let ask = option("a", "default", json!({"clientAuth": {"clientAuthType": "RequestClientCert"}}));
    rig.put(std::slice::from_ref(&ask));
    let of = |rig: &Rig| ["x.test", "y.test", "nowhere", ""].map(|host| asked(&rig.compiler, host));
    let asks = |auth| [Some(auth), Some(ClientAuth::None), Some(auth), Some(auth)];
    assert_eq!(of(&rig), asks(ClientAuth::Request));
    let require = option("b", "default", json!({"clientAuth": {"clientAuthType": "RequireAnyClientCert"}}));
    rig.put(std::slice::from_ref(&require));
    assert_eq!((of(&rig), said(&rig.compiler, "SeveralDefaults").len()), (asks(ClientAuth::Require), 2));
    rig.put(&[option("b", "default", json!({"clientAuth": {"secretNames": ["ca"]}}))]);
    assert_eq!(of(&rig), [None, Some(ClientAuth::None), None, None], "one that can't be had is the strictest");
    rig.put(&[secret("b", "ca", &CERTS[0])]);
    assert_eq!(of(&rig), asks(ClientAuth::RequireAndVerify));
    rig.delete(&require);
    rig.delete(&ask);
    assert!(one_policy(&built_in, &rig.options("x.test")), "as before, with the sessions of before");
    rig.nothing_is_wrong();
}

#[test]
fn whoever_joins_a_host_is_held_to_its_strictest_options() {
    let named = |name: &str, path: &str, reference: &str| {
        annotated(ingress_of("a", name, &[("x.test", path)]), "router.tls.options", reference)
    };
    let mut rig = Rig::new(&[
        service("a", "s"),
        option("a", "modern", json!({"minVersion": "VersionTLS13"})),
        option("a", "mutual", json!({"clientAuth": {"clientAuthType": "RequireAnyClientCert"}})),
        named("i1", "/1", "a-modern@kubernetescrd"),
        ingress_of("a", "plain", &[("x.test", "/2")]),
    ]);
    let id = |rig: &Rig| rig.options("x.test").id.to_string();
    let closed = |rig: &Rig, path: &str| {
        let route = rig.compiler.table().lookup(1, "x.test", path).unwrap();
        matches!(route.action, Action::Closed(_))
    };
    assert_eq!(id(&rig), "a/modern");
    let told = said(&rig.compiler, "TLSOptionConflict");
    assert!(told.len() == 1 && told[0].starts_with("Ingress a/plain "), "{told:?}");
    let mutual = named("i3", "/3", "a-mutual@kubernetescrd");
    rig.put(std::slice::from_ref(&mutual));
    assert_eq!((id(&rig).as_str(), said(&rig.compiler, "TLSOptionConflict").len()), ("a/mutual", 2));
    assert!(["/1", "/2", "/3"].iter().all(|path| !closed(&rig, path)), "whoever keeps to all comes in");
    // Different authorities: nobody can keep to both.
    rig.put(&[
        secret("a", "one", &CERTS[0]),
        secret("a", "two", &CERTS[1]),
        option("a", "mutual", json!({"clientAuth": {"secretNames": ["one"]}})),
        option("a", "others", json!({"clientAuth": {"secretNames": ["two"]}})),
        named("i4", "/4", "a-others@kubernetescrd"),
    ]);
    assert_eq!((id(&rig).as_str(), closed(&rig, "/3"), closed(&rig, "/4")), ("a/mutual", false, true));
    // One that can't be had refuses all.
    rig.put(&[named("i5", "/5", "a-gone@kubernetescrd")]);
    assert_eq!(asked(&rig.compiler, "x.test"), None);
    rig.delete(&named("i5", "/5", ""));
    rig.delete(&named("i4", "/4", ""));
    rig.delete(&mutual);
    assert_eq!(id(&rig), "a/modern");
}

#[test]
fn a_laxer_option_of_one_rule_does_not_switch_off_the_default_for_others() {
    let lax = || annotated(ingress_of("b", "evil", &[("x.test", "/zzz")]), "router.tls.options", "b-lax@kubernetescrd");
    let mut rig = Rig::new(&[
        service("a", "s"),
        service("b", "s"),
        option("b", "lax", json!({})),
        ingress_of("a", "victim", &[("x.test", "/")]),
        lax(),
    ]);
    assert_eq!(rig.options("x.test").id.to_string(), "b/lax");
    let mutual = option("k", "default", json!({"clientAuth": {"clientAuthType": "RequireAnyClientCert"}}));
    rig.put(std::slice::from_ref(&mutual));
    assert_eq!(asked(&rig.compiler, "x.test"), Some(ClientAuth::Require));
    let told = said(&rig.compiler, "TLSOptionConflict");
    assert!(told.len() == 1 && told[0].starts_with("Ingress b/evil "), "{told:?}");
    rig.put(&[naming("victim", "x.test", "default")]);
    assert_eq!(asked(&rig.compiler, "x.test"), Some(ClientAuth::Require), "said in so many words");
    // Not where all of its rules name another one.
    rig.put(&[naming("victim", "x.test", "b-lax@kubernetescrd")]);
    assert_eq!(asked(&rig.compiler, "x.test"), Some(ClientAuth::None));
    rig.nothing_is_wrong();
    rig.put(&[naming("victim", "x.test", "default")]);
    rig.delete(&mutual);
    assert_eq!(asked(&rig.compiler, "x.test"), Some(ClientAuth::None));
    let told = said(&rig.compiler, "TLSOptionConflict");
    assert!(told.len() == 1 && told[0].starts_with("Ingress a/victim "), "told anew: {told:?}");
}
