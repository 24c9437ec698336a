//! Where a page is: `errors.query`, with its placeholders.

use http::{StatusCode, uri::PathAndQuery};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    middleware::{Head, InvalidField},
    target::Target,
};

/// Go's `url.QueryEscape` leaves these alone, and writes a space as `+`.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What can't stand in a URL as it is, and what its author has not escaped.
const ODD: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}');

/// The path and query of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `{status}`: the status that is sent.
    Status,
    /// `{originalStatus}`: the one that came.
    Original,
    /// `{url}`: the URL of the request, escaped.
    Url,
}

const PLACEHOLDERS: [(&str, Part); 3] =
    [("{status}", Part::Status), ("{originalStatus}", Part::Original), ("{url}", Part::Url)];

impl Page {
    /// Reads `errors.query`; empty is `/`.
    ///
    /// # Errors
    /// When no URL comes of it.
    pub fn new(query: &str) -> Result<Self, InvalidField> {
        let mut parts = vec![Part::Text("/".to_owned())];
        let mut rest = query.strip_prefix('/').unwrap_or(query);
        while !rest.is_empty() {
            let next = PLACEHOLDERS.iter().filter_map(|(name, part)| Some((rest.find(name)?, *name, part)));
            let (at, length) = match next.min_by_key(|(at, ..)| *at) {
                Some((at, name, _)) => (at, name.len()),
                None => (rest.len(), 0),
            };
            let (text, behind) = rest.split_at(at);
            let (name, behind) = behind.split_at(length);
            parts.push(Part::Text(utf8_percent_encode(text, ODD).to_string()));
            parts.extend(PLACEHOLDERS.iter().find(|(known, _)| *known == name).map(|(_, part)| part.clone()));
            rest = behind;
        }
        let page = Self(parts);
        let example = page.filled("500", "500", "http");
        if query.contains('#') || query.chars().any(char::is_control) || Self::parsed(example).is_none() {
            let text = format!("{} is not the path of a page", query.escape_debug());
            let help = "write a path, and a query if you want one, such as /{status}.html";
            return Err(InvalidField::new("query", text, help));
        }
        Ok(page)
    }

    /// The page for a request. `None` where the request's URL is too long to be a part of another.
    pub(super) fn target(&self, head: &Head, status: StatusCode, original: StatusCode) -> Option<Target> {
        let url = if self.0.contains(&Part::Url) { escaped(&url(head)) } else { String::new() };
        Self::parsed(self.filled(status.as_str(), original.as_str(), &url))
    }

    fn filled(&self, status: &str, original: &str, url: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Status => status,
            Part::Original => original,
            Part::Url => url,
        });
        parts.collect()
    }

    fn parsed(text: String) -> Option<Target> {
        Target::new(PathAndQuery::try_from(text).ok()?).ok()
    }
}

/// The whole URL that a request came by.
fn url(head: &Head) -> String {
    let port = head.port.map(|port| format!(":{port}")).unwrap_or_default();
    let query = head.target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}://{}{port}{}{query}", head.scheme(), head.host, head.target.path())
}

fn escaped(url: &str) -> String {
    utf8_percent_encode(url, QUERY).to_string().replace("%20", "+")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::middleware::headers::tests::head;

    fn page(query: &str, url: &str) -> String {
        let target =
            Page::new(query).unwrap().target(&head(Method::GET, url), StatusCode::NOT_FOUND, StatusCode::IM_A_TEAPOT);
        let target = target.unwrap();
        target.path().to_owned() + &target.query().map(|query| format!("?{query}")).unwrap_or_default()
    }

    #[test]
    fn placeholders_are_filled_in() {
        let url = "https://a.test:8443/b%2Fc/d?e=f&g=%20+%C3%A4";
        for (query, expected) in [
            ("", "/"),
            ("/", "/"),
            ("/{status}.html", "/404.html"),
            ("{status}/{originalStatus}/{status}", "/404/418/404"),
            ("/x?o={originalStatus}&s={status}", "/x?o=418&s=404"),
            ("/{code}/{Status}", "/%7Bcode%7D/%7BStatus%7D"),
            ("p q/é", "/p%20q/%C3%A9"),
            ("/a%2Fb%20c", "/a%2Fb%20c"),
            ("//x", "/x"),
            ("/in?rd={url}", "/in?rd=https%3A%2F%2Fa.test%3A8443%2Fb%252Fc%2Fd%3Fe%3Df%26g%3D%2520%2B%25C3%25A4"),
        ] {
            assert_eq!(page(query, url), expected, "{query}");
        }
        assert_eq!(page("/{url}", "http://a.test/~x-y_z.0"), "/http%3A%2F%2Fa.test%2F~x-y_z.0");
        assert_eq!(escaped("a b"), "a+b");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for query in ["/a#b", "/a\nb", "/%zz", "/%00"] {
            assert_eq!(Page::new(query).unwrap_err().field, "query", "{query:?}");
        }
    }

    #[test]
    fn a_url_that_is_too_long_gives_no_page() {
        let head = head(Method::GET, &format!("http://a.test/{}", "a/%2F".repeat(12_000)));
        let found = Page::new("/?{url}").unwrap().target(&head, StatusCode::NOT_FOUND, StatusCode::NOT_FOUND);
        assert!(found.is_none());
    }
}
