use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Expression<Term>, String> {
    parse(text, Ok)
}

/// An expression over `A()` to `Z()`, of which those of `true_ones` hold.
fn holds(text: &str, true_ones: &str) -> bool {
    let parsed = parse(text, |term| Ok(term.name)).unwrap();
    parsed.holds(&mut |name| true_ones.contains(name.as_str()))
}

fn call(name: &str, arguments: &[Literal], comparison: Option<(Comparison, Literal)>) -> Expression<Term> {
    Expression::Term(Term { name: name.to_owned(), arguments: arguments.to_vec(), comparison })
}

#[test]
fn terms_are_calls_that_may_be_compared() {
    use Comparison::{Equal, Greater, LessOrEqual, NotEqual};
    use Literal::{Float, Int, Text};
    for (text, expected) in [
        ("IsNetworkError()", call("IsNetworkError", &[], None)),
        (" Attempts ( ) <=2 ", call("Attempts", &[], Some((LessOrEqual, Int(2))))),
        ("RequestMethod() == \"GET\"", call("RequestMethod", &[], Some((Equal, Text("GET".into()))))),
        ("RequestMethod() != `a\\b`", call("RequestMethod", &[], Some((NotEqual, Text("a\\b".into()))))),
        ("LatencyAtQuantileMS(50.0) > 100", call("LatencyAtQuantileMS", &[Float(50.0)], Some((Greater, Int(100))))),
        (
            "ResponseCodeRatio(500, 600, 0, 600) > 0.25",
            call("ResponseCodeRatio", &[Int(500), Int(600), Int(0), Int(600)], Some((Greater, Float(0.25)))),
        ),
        ("A() > -1", call("A", &[], Some((Greater, Int(-1))))),
        ("((A()))", call("A", &[], None)),
    ] {
        assert_eq!(read(text), Ok(expected), "{text}");
    }
}

#[test]
fn and_binds_tighter_than_or() {
    for (text, true_ones, expected) in [
        ("A() || B() && C()", "A", true),
        ("A() || B() && C()", "B", false),
        ("A() || B() && C()", "BC", true),
        ("(A() || B()) && C()", "A", false),
        ("(A() || B()) && C()", "BC", true),
        ("A()&&B()||C()&&D()", "CD", true),
        ("A() && (B() || (C() && D())) && E()", "ACDE", true),
        ("A() && (B() || (C() && D())) && E()", "ACE", false),
    ] {
        assert_eq!(holds(text, true_ones), expected, "{text} with {true_ones}");
    }
}

#[test]
fn no_more_is_asked_than_needed() {
    let parsed = parse("A() && B() || C() || D()", |term| Ok(term.name)).unwrap();
    let mut asked = String::new();
    assert!(parsed.holds(&mut |name| {
        asked.push_str(name);
        name == "C"
    }));
    assert_eq!(asked, "AC");
}

#[test]
fn what_is_no_expression_is_said_with_its_place() {
    for (text, said) in [
        ("", "expected the name of a function at its end"),
        ("A", "expected ( behind A at its end"),
        ("A(", "expected a number or text in quotes at its end"),
        ("A(1 2)", "expected , or ) at character 5, found '2'"),
        ("A(1.2.3)", "expected a number or text in quotes at character 3, found '1'"),
        ("A() >", "expected a number or text in quotes at its end"),
        ("A() > B()", "expected a number or text in quotes at character 7, found 'B'"),
        ("A() & B()", "expected &&, || or the end at character 5, found '&'"),
        ("A() && ", "expected the name of a function at its end"),
        ("2 < A()", "expected the name of a function at character 1, found '2'"),
        ("!A()", "expected the name of a function at character 1, found '!'"),
        ("(A()", "expected ) at its end"),
        ("A() )", "expected &&, || or the end at character 5, found ')'"),
        ("A() == \"x", "expected the closing quote at its end"),
        ("A() == 99999999999999999999", "expected a number or text in quotes at character 8, found '9'"),
        ("é()", "expected the name of a function at character 1, found 'é'"),
    ] {
        assert_eq!(read(text).unwrap_err(), said, "{text}");
    }
    assert!(read(&"(".repeat(100)).unwrap_err().contains("nest deeper"));
    assert!(read(&" ".repeat(5_000)).unwrap_err().contains("longer than"));
    assert_eq!(
        parse("A() && B()", |t| if t.name == "B" { Err("no B".to_owned()) } else { Ok(()) }),
        Err("no B".into())
    );
}

#[test]
fn comparisons() {
    let holding = |left: i64, right: i64| {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual].map(|c| u8::from(c.holds(&left, &right)))
    };
    assert_eq!(holding(1, 2), [0, 1, 1, 1, 0, 0]);
    assert_eq!(holding(2, 2), [1, 0, 0, 1, 0, 1]);
    assert_eq!(holding(3, 2), [0, 1, 0, 0, 1, 1]);
}

proptest! {
    /// Whatever is written, there is an answer and no panic.
    #[test]
    fn any_text_is_read_or_refused(text in "[A-C()&|<>=!0-9.,\"` é-]{0,40}") {
        let _ = read(&text);
    }
}
