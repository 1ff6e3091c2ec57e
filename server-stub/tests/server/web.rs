//! The web page's files, as far as no browser is needed.

use axum::body::Body;
use axum::http::{Request, header};
use piculet_core::secret::Secret;
use server_stub::server::Config;
use server_stub::stub::Stub;

use crate::api::{call, get, post, text};

fn with(headers: &[(&str, &str)]) -> Request<Body> {
    let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_the_page_and_nobody_the_data() {
    let open = Stub::start(Config::default());
    let closed = Stub::start(Config { api_token: Some(Secret::new("s3cret")), ..Config::default() });
    let linked = [("host", "127.0.0.1:9080"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    for (stub, request, status) in [
        (&open, get("/"), 200),
        (&open, get("/page/app.js"), 200),
        (&open, get("/page/none.js"), 404),
        (&open, get("/page/..%2Fpage.rs"), 404),
        (&open, post("/", ""), 405),
        // A link in a chat leads to it; a name that somebody else points here doesn't.
        (&open, with(&linked), 200),
        (&open, with(&[("host", "evil.example")]), 403),
        (&closed, get("/"), 200),
        (&closed, get("/page/app.js"), 200),
        (&closed, with(&[("host", "ci.example")]), 200),
        (&closed, get("/api/agents"), 401),
    ] {
        let line = format!("{request:?}");
        assert_eq!(call(stub, request).await.status().as_u16(), status, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_tells_browsers_to_be_strict() {
    let stub = Stub::start(Config::default());
    let response = call(&stub, get("/")).await;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    for word in
        ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]
    {
        assert!(policy.contains(word), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let tag = response.headers()[header::ETAG].to_str().unwrap().to_owned();
    let again = call(&stub, with(&[("if-none-match", &tag)])).await;
    assert_eq!(again.status().as_u16(), 304);
    let (_, body) = text(response).await;
    assert!(
        !body.contains("<script>") && !body.contains("style="),
        "nothing stands in the page that the policy forbids"
    );
}
