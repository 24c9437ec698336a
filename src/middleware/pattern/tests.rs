use proptest::prelude::*;

use super::*;

fn rewrite(expression: &str, replacement: &str) -> Rewrite {
    Rewrite::new("regex", expression, replacement, str::to_owned).unwrap()
}

fn replaced(expression: &str, replacement: &str, old: &str) -> Option<String> {
    rewrite(expression, replacement).apply(old).unwrap().map(|new| new.text)
}

#[test]
fn go_is_read_as_go_reads_it() {
    for (go, ours) in [
        (r"^/v[0-9]+(.*)$", r"^/v[0-9]+(.*)$"),
        (r"\d+\w*\S", r"[0-9]+[0-9A-Za-z_]*[^\t\n\f\r ]"),
        (r"a{2}b{3,}c{4,5}", r"a{2}b{3,}c{4,5}"),
        (r"/{id}/{,3}/{2,x}", r"/\{id}/\{,3}/\{2,x}"),
        (r"[^[]+[]a]", r"[^\[]+[\]a]"),
        (r"[a&&b~~c!--]", r"[a\&\&b\~\~c!-\-]"),
        (r"[\w.-]", r"[0-9A-Za-z_.\-]"),
        (r"[^\D]", r"[^[^0-9]]"),
        (r"[[:alpha:]_]", r"[[:alpha:]_]"),
        (r"\Qa.b\E+", r"a\.b+"),
        (r"\<a\>", "<a>"),
        (r"\bx\B", r"(?-u:\b)x(?-u:\B)"),
        (r"\p{Greek}\pL\x41\x{1F600}", r"\p{Greek}\pL\x41\x{1F600}"),
        (r"\101\07", r"\x{41}\x{7}"),
        (r"(?i)(?P<a>x)(?<b>y)", r"(?i)(?P<a>x)(?<b>y)"),
        (r"\/\-", r"\/\-"),
    ] {
        assert_eq!(go::translate(go), ours, "{go}");
        assert!(compile("regex", go).is_ok(), "{go}");
    }
}

#[test]
fn what_is_no_expression() {
    for (expression, why) in [
        ("", "the regular expression is missing"),
        ("(", "unclosed group"),
        ("a(?=b)", "look-around"),
        (r"(a)\1", "backreferences"),
        ("[a", "unclosed character class"),
        ("*", "missing expression"),
        ("((a{1000}){1000}){1000}", "more than a megabyte"),
    ] {
        let invalid = compile("regex[2]", expression).unwrap_err();
        assert_eq!(invalid.field, "regex[2]");
        assert!(invalid.message.contains(why), "{expression}: {}", invalid.message);
    }
}

#[test]
fn replacements_as_in_go() {
    for (expression, replacement, old, new) in [
        ("^/old/(.*)", "/new/$1", "/old/x", Some("/new/x")),
        ("^/old/(.*)", "/new/$1", "/other", None),
        ("^/old/(.*)", "/new/$1x", "/old/x", Some("/new/")),
        ("^/old/(.*)", "/new/${1}x", "/old/y", Some("/new/yx")),
        ("(?P<a>a)(?<b>b)?", "<$b$a>", "ab-a", Some("<ba>-<a>")),
        ("(a)", "$0$00$01$2$$$$1${1$-$", "a", Some("a$$1${1$-$")),
        ("/whoami", "", "/whoami/and/whoami", Some("/and")),
        ("a*", "-", "baaac", Some("-b-c-")),
        ("x", "y", "aXx", Some("aXy")),
    ] {
        assert_eq!(replaced(expression, replacement, old).as_deref(), new, "{expression} {replacement} {old}");
    }
}

#[test]
fn a_result_has_an_end() {
    let huge = "x".repeat(LONGEST);
    assert_eq!(rewrite("a", &huge).apply("aa").map(|_| ()), Err(TooLong));
    assert!(rewrite("a", &huge).apply("a").unwrap().is_some());
}

#[test]
fn each_byte_knows_where_it_is_from() {
    let new = rewrite("^(a+)-(b+)", "<$2|$1>").apply("aa-bb-cc").unwrap().unwrap();
    assert_eq!(new.text(), "<bb|aa>-cc");
    let from: Vec<Option<usize>> = (0..new.text().len()).map(|at| new.source(at)).collect();
    assert_eq!(from, [None, Some(3), Some(4), None, Some(0), Some(1), None, Some(5), Some(6), Some(7)]);
}

proptest! {
    #[test]
    fn sources_are_true(old in "[a-c/]{0,12}", replacement in "[a-c$1{}]{0,6}") {
        if let Ok(Some(new)) = rewrite("(a|b)(c*)", &replacement).apply(&old) {
            for (at, byte) in new.text().bytes().enumerate() {
                if let Some(from) = new.source(at) {
                    prop_assert_eq!(old.as_bytes()[from], byte);
                }
            }
        }
    }

    #[test]
    fn never_panics(expression in "\\PC{0,20}", replacement in "\\PC{0,12}", old in "\\PC{0,12}") {
        if let Ok(rewrite) = Rewrite::new("regex", &expression, &replacement, str::to_owned) {
            let _ = rewrite.apply(&old);
        }
    }

    #[test]
    fn plain_text_stays_plain(text in "[a-z/_ :;,'\"!@#%=<>-]{1,20}") {
        prop_assert_eq!(go::translate(&text), text);
    }
}
