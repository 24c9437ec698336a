use super::*;
use crate::diagnostic::Subject;

fn subject(kind: &'static str, namespace: &str, name: &str) -> Subject {
    Subject { kind, namespace: namespace.into(), name: name.into() }
}

fn told(diagnostic: Diagnostic) -> Told {
    Told { diagnostic, uid: Some("u-1".into()), api_version: "networking.k8s.io/v1" }
}

#[test]
fn an_event_says_what_where_and_what_to_do() {
    let text = "there is no Service shop/api";
    let wrong = Diagnostic::warning(subject("Ingress", "shop", "web"), "spec.rules[0]", "ServiceNotFound", text);
    let event = event(&told(wrong.help("create it")), "shop", "headgate-0", Timestamp::from_second(1).unwrap());
    assert_eq!(event.metadata.name.as_deref(), Some("web.3b9aca00"));
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("ServiceNotFound")));
    assert_eq!(event.note.as_deref(), Some("spec.rules[0]: there is no Service shop/api; create it"));
    let regarding = event.regarding.unwrap();
    assert_eq!((regarding.uid.as_deref(), regarding.namespace.as_deref()), (Some("u-1"), Some("shop")));
    assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("Ingress"), Some("web")));
    assert_eq!(event.reporting_instance.as_deref(), Some("headgate-0"));
}

#[test]
fn what_the_server_would_refuse_is_cut() {
    let name = format!("{}.{}", "a".repeat(219), "b".repeat(33));
    let wrong = Diagnostic::info(subject("Ingress", "shop", &name), "ä".repeat(400), "Code", "ö".repeat(500));
    let event = event(&told(wrong), "shop", &"x".repeat(200), Timestamp::from_second(1).unwrap());
    let event_name = event.metadata.name.unwrap();
    assert!(event_name.len() <= 253 && event_name.starts_with(&format!("{}.3b9a", "a".repeat(219))), "{event_name}");
    let note = event.note.unwrap();
    assert!(note.len() <= 1_024 && note.len() > 1_020 && note.ends_with("ö…"), "{}", note.len());
    assert_eq!(event.reporting_instance.unwrap().len(), 128);
    assert_eq!(event.type_.as_deref(), Some("Normal"));
    let silent = Diagnostic::error(subject("IngressClass", "", "c"), "", "Code", "it is wrong");
    assert_eq!(note_of(&silent), "it is wrong");
}

fn note_of(diagnostic: &Diagnostic) -> String {
    note(diagnostic)
}

#[test]
fn only_objects_that_are_there_have_events() {
    let wrong = |kind| told(Diagnostic::error(subject(kind, "shop", "a"), "", "Code", "it is wrong"));
    for kind in ["Ingress", "IngressClass", "Service", "EndpointSlice", "Secret", "Middleware"] {
        assert!(has_events(&wrong(kind)), "{kind}");
    }
    assert!(!has_events(&wrong("File")));
    assert!(!has_events(&wrong("CustomResourceDefinition")));
    assert!(!has_events(&Told { uid: None, ..wrong("Ingress") }));
}
