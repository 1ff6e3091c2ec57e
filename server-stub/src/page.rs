//! The web page: files inside the program. It has no data of its own; it calls the API as everybody does.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// What a browser is told with each file. Scripts and styles come from this server only, and none stand in a page; no
/// text can become markup by accident (trusted types); no other page may show this one, and have its buttons clicked.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // A browser asks whether its copy is still good: the page and the server are always of one version.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// A file of the page.
struct File {
    name: &'static str,
    content: &'static str,
}

/// The files, by their names in the folder `page`.
const FILES: [File; 18] = [
    File { name: "index.html", content: include_str!("page/index.html") },
    File { name: "style.css", content: include_str!("page/style.css") },
    File { name: "icon.svg", content: include_str!("page/icon.svg") },
    File { name: "ansi.js", content: include_str!("page/ansi.js") },
    File { name: "api.js", content: include_str!("page/api.js") },
    File { name: "app.js", content: include_str!("page/app.js") },
    File { name: "dom.js", content: include_str!("page/dom.js") },
    File { name: "graph.js", content: include_str!("page/graph.js") },
    File { name: "lines.js", content: include_str!("page/lines.js") },
    File { name: "log.js", content: include_str!("page/log.js") },
    File { name: "overview.js", content: include_str!("page/overview.js") },
    File { name: "search.js", content: include_str!("page/search.js") },
    File { name: "states.js", content: include_str!("page/states.js") },
    File { name: "stream.js", content: include_str!("page/stream.js") },
    File { name: "timeline.js", content: include_str!("page/timeline.js") },
    File { name: "time.js", content: include_str!("page/time.js") },
    File { name: "token.js", content: include_str!("page/token.js") },
    File { name: "workflow.js", content: include_str!("page/workflow.js") },
];

/// The page's own calls: `/`, and `/page/…` for what it is made of.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let index = |headers: HeaderMap| async move { answer("index.html", &headers) };
    let file = |Path(name): Path<String>, headers: HeaderMap| async move { answer(&name, &headers) };
    Router::new().route("/", get(index)).route("/page/{file}", get(file))
}

fn answer(name: &str, asked: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file").into_response();
    };
    let tag = file.tag();
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|other| other.trim().trim_start_matches("W/") == tag);
    let headers = (HEADERS, [(header::ETAG, tag)]);
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, file.media_type())], file.content).into_response()
}

impl File {
    /// Changes with the content.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.content.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }

    fn media_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, HEADERS, answer};
    use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

    #[test]
    fn every_file_of_the_folder_is_served_and_none_is_for_nothing() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/page")).expect("it is there");
        let mut there: Vec<_> = folder.map(|entry| entry.expect("it can be read").file_name()).collect();
        let mut served: Vec<std::ffi::OsString> = FILES.iter().map(|file| file.name.into()).collect();
        there.sort();
        served.sort();
        assert_eq!(served, there);
        // Every import, and everything that the page itself names, is served.
        for file in &FILES {
            let named = file
                .content
                .split('"')
                .filter_map(|text| text.strip_prefix("./").or_else(|| text.strip_prefix("page/")));
            for name in named {
                assert!(FILES.iter().any(|other| other.name == name), "{} names {name}", file.name);
            }
            assert!(file.media_type() != "text/plain; charset=utf-8", "{}", file.name);
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_no_text_becomes_markup() {
        for file in &FILES {
            let content = file.content.replace("http://www.w3.org/2000/svg", "");
            for word in
                ["https://", "http://", "//cdn", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", " style=\""]
            {
                assert!(!content.contains(word), "{} has {word}", file.name);
            }
        }
    }

    #[test]
    fn a_browser_that_has_a_file_is_told_so() {
        let first = answer("app.js", &HeaderMap::new());
        assert_eq!(
            (first.status(), &first.headers()[header::CONTENT_TYPE]),
            (StatusCode::OK, &HeaderValue::from_static("text/javascript; charset=utf-8"))
        );
        for (name, value) in &HEADERS {
            assert_eq!(first.headers().get(name), Some(value));
        }
        let tag = first.headers()[header::ETAG].to_str().expect("it is ASCII").to_owned();
        for (known, status) in [
            (tag.clone(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", W/{tag}"), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let mut asked = HeaderMap::new();
            asked.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&known).expect("it is ASCII"));
            assert_eq!(answer("app.js", &asked).status(), status, "{known}");
        }
        assert_eq!(answer("../page.rs", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
