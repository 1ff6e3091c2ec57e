//! The API server: reads a request, asks who may do it, does it, and words the answer.

mod delete;
mod discovery;
mod list;
mod logs;
mod params;
mod review;
mod target;
mod watch;
mod write;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::Value;

use crate::access::Access;
use crate::body::{self, Body, broken};
use crate::classes::Classes;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::faults::{Cut, Effect, Faults};
use crate::kind::Kind;
use crate::kubelet::{Containers, Machines};
use crate::mutations::Mutations;
use crate::object::{Key, Object};
use crate::store::Store;

pub use target::Verb;

use params::Params;
use target::{Resource, Target};

/// No request may be larger than this.
const LARGEST_REQUEST: usize = 3 << 20;

/// The API server.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) machines: Arc<Machines>,
    pub(crate) faults: Faults,
    pub(crate) mutations: Mutations,
    pub(crate) counters: Arc<Counters>,
    pub(crate) access: Access,
    pub(crate) classes: Arc<Classes>,
}

/// A request for a resource, read.
struct Asked {
    verb: Verb,
    resource: Resource,
    params: Params,
    content_type: String,
    body: Bytes,
}

impl Api {
    /// Answers a request of `user`. An error means that the connection breaks.
    pub(crate) async fn serve(self: &Arc<Self>, request: Request<Bytes>, user: &str) -> io::Result<Response<Body>> {
        let (head, content) = request.into_parts();
        if content.len() > LARGEST_REQUEST {
            let message = format!("Request entity too large: limit is {LARGEST_REQUEST}");
            return Ok(body::failure(&Failure::new(413, "RequestEntityTooLarge", message)));
        }
        let outcome = match target::read(head.uri.path()) {
            None => Err(Failure::no_such_resource()),
            Some(Target::Plain(path)) => Ok(discovery::answer(&head.method, &path)),
            Some(Target::AccessReview) => self.review(Review::Access, &head.method, user, &content).await?,
            Some(Target::RulesReview) => self.review(Review::Rules, &head.method, user, &content).await?,
            Some(Target::Resource(resource)) => {
                let content_type = head
                    .headers
                    .get(header::CONTENT_TYPE)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| value.split(';').next())
                    .unwrap_or_default();
                let params = Params::parse(head.uri.query().unwrap_or_default());
                self.resource(&head.method, resource, params, content_type, content, user).await?
            }
        };
        Ok(outcome.unwrap_or_else(|failure| body::failure(&failure)))
    }

    async fn resource(
        self: &Arc<Self>,
        method: &Method,
        resource: Resource,
        params: Result<Params, Failure>,
        content_type: &str,
        content: Bytes,
        user: &str,
    ) -> io::Result<Result<Response<Body>, Failure>> {
        let params = match params {
            Ok(params) => params,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some(verb) = target::verb(method, &resource, params.watch()) else {
            return Ok(Err(Failure::method_not_allowed()));
        };
        let planned = self.planned(verb, &resource.resource(), &resource.name).await?;
        let cut = match planned {
            Planned::Answer(response) => return Ok(Ok(response)),
            Planned::Go { cut, .. } => cut,
        };
        let lose = matches!(planned, Planned::Go { lose: true, .. });
        let asked = Asked { verb, resource, params, content_type: content_type.to_owned(), body: content };
        let outcome = match self.check_access(user, &asked) {
            Ok(()) => self.carry_out(asked, cut).await,
            Err(failure) => Err(failure),
        };
        if lose { Err(broken()) } else { Ok(outcome) }
    }

    async fn carry_out(self: &Arc<Self>, asked: Asked, cut: Cut) -> Result<Response<Body>, Failure> {
        match (asked.verb, asked.resource.part.as_str()) {
            (Verb::Get, "log") => self.logs(&asked, cut),
            (Verb::Get, _) => {
                let object = self.store.get(&asked.key()).ok_or_else(|| asked.not_found())?;
                Ok(object_response(StatusCode::OK, &object))
            }
            (Verb::List, _) => self.list(&asked).await,
            (Verb::Watch, _) => self.watch(&asked, cut),
            (Verb::Create, "eviction") => self.evict(&asked),
            (Verb::Create, _) => self.create(&asked),
            (Verb::Update, _) => self.replace(&asked),
            (Verb::Patch, _) => self.patch(&asked),
            (Verb::Delete, _) => self.delete(&asked),
            (Verb::DeleteCollection, _) => self.delete_collection(&asked),
        }
    }

    fn check_access(&self, user: &str, asked: &Asked) -> Result<(), Failure> {
        let Resource { kind, namespace, name, .. } = &asked.resource;
        // A namespace counts as being inside itself.
        let namespace = if *kind == Kind::Namespace { name } else { namespace };
        self.access.check(user, asked.verb, *kind, &asked.resource.resource(), namespace, name)
    }

    /// Counts a request and lets the fault plan have its way with it.
    async fn planned(&self, verb: Verb, resource: &str, name: &str) -> io::Result<Planned> {
        self.counters.count(verb, resource);
        let (delay, effect) = self.faults.meet(verb, resource, name);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(match effect {
            None | Some(Effect::Delay(_)) => Planned::Go { lose: false, cut: Cut::default() },
            Some(Effect::Fail(failure)) => Planned::Answer(body::failure(&failure)),
            Some(Effect::TooManyRequests { retry_after }) => {
                let said = "Too many requests, please try again later.\n";
                let mut response = body::whole(StatusCode::TOO_MANY_REQUESTS, "text/plain; charset=utf-8", said);
                response.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
                Planned::Answer(response)
            }
            Some(Effect::DropConnection) => return Err(broken()),
            Some(Effect::LoseResponse) => Planned::Go { lose: true, cut: Cut::default() },
            Some(Effect::Cut(cut)) => Planned::Go { lose: false, cut },
        })
    }

    async fn review(
        &self,
        review: Review,
        method: &Method,
        user: &str,
        content: &[u8],
    ) -> io::Result<Result<Response<Body>, Failure>> {
        if method != Method::POST {
            return Ok(Err(Failure::method_not_allowed()));
        }
        let resource = match review {
            Review::Access => "selfsubjectaccessreviews",
            Review::Rules => "selfsubjectrulesreviews",
        };
        let lose = match self.planned(Verb::Create, resource, "").await? {
            Planned::Answer(response) => return Ok(Ok(response)),
            Planned::Go { lose, .. } => lose,
        };
        let outcome = match review {
            Review::Access => review::access(&self.access, user, content),
            Review::Rules => review::rules(&self.access, user, content),
        };
        if lose { Err(broken()) } else { Ok(outcome) }
    }
}

/// What the fault plan made of a request.
enum Planned {
    Answer(Response<Body>),
    Go { lose: bool, cut: Cut },
}

#[derive(Clone, Copy)]
enum Review {
    Access,
    Rules,
}

impl Asked {
    fn key(&self) -> Key {
        Key::new(self.resource.kind, self.resource.namespace.as_str(), self.resource.name.as_str())
    }

    fn not_found(&self) -> Failure {
        Failure::not_found(self.resource.kind, &self.resource.name)
    }

    /// The namespace of a collection; `None` is all of them.
    fn namespace(&self) -> Option<&str> {
        Some(self.resource.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }

    fn json(&self) -> Result<Value, Failure> {
        if !matches!(self.content_type.as_str(), "" | "application/json") {
            return Err(Failure::unsupported_media("application/json"));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::bad_request(format!("the object provided is unrecognized: {error}")))
    }
}

fn object_response(code: StatusCode, object: &Object) -> Response<Body> {
    let mut content = Vec::new();
    object.write_whole(&mut content);
    body::whole(code, "application/json", content)
}
