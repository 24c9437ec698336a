use http::{HeaderMap, HeaderValue, header};

use super::is_local;

fn local(hosts: &[&str]) -> bool {
    let mut headers = HeaderMap::new();
    for host in hosts {
        headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
    }
    is_local(&headers)
}

#[test]
fn a_host_that_a_page_could_have_chosen_is_refused() {
    for host in ["localhost", "localhost:9000", "LocalHost.", "127.0.0.1", "127.0.0.1:9000", "[::1]:9000", "10.0.0.7"] {
        assert!(local(&[host]), "{host}");
    }
    for host in ["rebind.test", "rebind.test:9000", "localhost.rebind.test", "127.0.0.1.rebind.test", "", "a b", "[x]"]
    {
        assert!(!local(&[host]), "{host}");
    }
    assert!(local(&[]));
    assert!(!local(&["localhost", "rebind.test"]));
}
