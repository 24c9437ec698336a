use http::{Method, StatusCode};

use super::{
    super::{InFlight, headers::tests::head, source::Source},
    *,
};
use crate::{balance::Service, body::BodyKind};

/// Answers every request.
struct Endpoint;

impl Upstream for Endpoint {
    async fn forward(&mut self, _: &mut Request) -> Response<Body> {
        Response::new(Body::Empty)
    }

    async fn fetch(&mut self, _: &Arc<Service>, _: Request) -> Response<Body> {
        Response::new(Body::Empty)
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_does_not_stand_in_its_own_way() {
    let chain = Chain::new(vec![Middleware::InFlight(Arc::new(InFlight::new(1, Source::Host)))]);
    let mut request = again(&head(Method::GET, "http://a.test/"));
    let mut next = Next { chain: &chain, at: 0, upstream: &mut Endpoint, held: None };
    for _ in 0..3 {
        assert_eq!(next.run(&mut request).await.status(), StatusCode::OK);
    }
    assert_eq!(request.permits.len(), 1);
    next.release(&mut request);
    assert_eq!(request.permits.len(), 0, "who waits holds no place");
    next.run(&mut request).await;
    let answer = chain.run(&mut again(&request.head), &mut Endpoint).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "another one does");
    drop(request.permits);
    assert_eq!(chain.run(&mut again(&request.head), &mut Endpoint).await.status(), StatusCode::OK);
}

fn again(head: &Head) -> Request {
    Request::new(head.clone(), Body::Empty, BodyKind::None)
}
