//! The log of a container, by way of its node's kubelet.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use jiff::SignedDuration;
use serde_json::Value;
use tokio::time::Instant;

use super::{Api, Asked};
use crate::body::{self, Body, broken};
use crate::clock::until;
use crate::failure::{Failure, FieldError};
use crate::faults::Cut;
use crate::kind::Kind;
use crate::latest;
use crate::log::{LogOptions, Reader};
use crate::object::{Key, Object, list};

const PLAIN: &str = "text/plain";

/// One open stream of a log.
struct Follower {
    reader: Reader,
    cuts: latest::Receiver<u64>,
    up: latest::Receiver<bool>,
    cut: Cut,
    cut_at: Option<Instant>,
}

impl Follower {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.cut.bytes == Some(0) {
            return if self.cut.clean { None } else { Some(Err(broken())) };
        }
        let chunk = tokio::select! {
            biased;
            _ = self.cuts.changed() => Some(Err(broken())),
            _ = self.up.wait_for(|up| !*up) => Some(Err(broken())),
            () = until(self.cut_at) => if self.cut.clean { None } else { Some(Err(broken())) },
            chunk = self.reader.next() => chunk.map(Ok),
        };
        let mut chunk = match chunk? {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error)),
        };
        if let Some(left) = &mut self.cut.bytes {
            chunk.truncate(*left);
            *left -= chunk.len();
        }
        Some(Ok(chunk))
    }
}

impl Api {
    pub(super) fn logs(&self, asked: &Asked, cut: Cut) -> Result<Response<Body>, Failure> {
        let pod = self.store.get(&asked.key()).ok_or_else(|| asked.not_found())?;
        let options = self.options(asked, &pod)?;
        let container = container(&pod, &asked.params.container)?;
        let node = pod.text(&["spec", "nodeName"]);
        if node.is_empty() {
            // There is no kubelet to ask, and the server says nothing at all.
            return Ok(body::whole(StatusCode::NO_CONTENT, PLAIN, ""));
        }
        if self.store.get(&Key::new(Kind::Node, "", node)).is_none() {
            return Err(Failure::not_found(Kind::Node, node));
        }
        if !self.machines.is_up(node) {
            let address = pod.text(&["status", "hostIP"]);
            return Err(Failure::internal(format!(
                "Get \"https://{address}:10250/containerLogs/{}/{}/{container}\": dial tcp {address}:10250: connect: \
                 connection refused",
                pod.namespace(),
                pod.name(),
            )));
        }
        let id = check_started(&pod, &container, asked.params.previous()).map_err(Failure::bad_request)?;
        let Some(log) = self.containers.log(pod.uid(), &container, asked.params.previous()) else {
            let said = format!("unable to retrieve container logs for {id}");
            return Ok(body::whole(StatusCode::OK, PLAIN, said));
        };
        let follower = Follower {
            reader: Reader::new(log, &options),
            cuts: self.faults.cuts(),
            up: self.machines.watch(node),
            cut,
            cut_at: cut.after.map(|after| Instant::now() + after),
        };
        let parts = stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await? {
                Ok(chunk) => Some((Ok(chunk), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(body::streamed(PLAIN, parts))
    }

    fn options(&self, asked: &Asked, pod: &Object) -> Result<LogOptions, Failure> {
        let params = &asked.params;
        let (since_time, since_seconds) = (params.since_time()?, params.since_seconds()?);
        if since_time.is_some() && since_seconds.is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(Failure::invalid("PodLogOptions", "", pod.name(), &[FieldError::forbidden("", why)]));
        }
        let ago = |seconds: i64| self.store.clock().now().saturating_sub(SignedDuration::from_secs(seconds)).ok();
        Ok(LogOptions {
            follow: params.follow(),
            timestamps: params.timestamps(),
            since: since_time.or_else(|| since_seconds.and_then(ago)),
            tail: params.tail_lines()?,
            limit: params.limit_bytes()?,
        })
    }
}

/// The container that is meant. A pod with several has no default.
fn container(pod: &Object, asked: &str) -> Result<String, Failure> {
    let names = |field: &str| -> Vec<&str> {
        list(&pod.value()["spec"][field]).filter_map(|container| container["name"].as_str()).collect()
    };
    let (containers, inits) = (names("containers"), names("initContainers"));
    if !asked.is_empty() {
        if containers.iter().chain(&inits).any(|name| *name == asked) {
            return Ok(asked.to_owned());
        }
        return Err(Failure::bad_request(format!("container {asked} is not valid for pod {}", pod.name())));
    }
    if let [only] = containers.as_slice() {
        return Ok((*only).to_owned());
    }
    let all: Vec<&str> = inits.into_iter().chain(containers).collect();
    let message =
        format!("a container name must be specified for pod {}, choose one of: [{}]", pod.name(), all.join(" "));
    Err(Failure::bad_request(message))
}

/// The id of the container whose log is meant; or, in the kubelet's words, why there is none.
fn check_started(pod: &Object, container: &str, previous: bool) -> Result<String, String> {
    let status = &pod.value()["status"];
    let of_all = list(&status["containerStatuses"]).chain(list(&status["initContainerStatuses"]));
    let name = pod.name();
    let Some(status) = of_all.into_iter().find(|status| status["name"] == container) else {
        return Err(format!("container {container:?} in pod {name:?} is not available"));
    };
    let id = |value: &Value| value["containerID"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    let last = id(&status["lastState"]["terminated"]);
    let state = &status["state"];
    if previous {
        return last.ok_or_else(|| format!("previous terminated container {container:?} in pod {name:?} not found"));
    }
    if state["running"].is_object() {
        return Ok(id(status).unwrap_or_default());
    }
    if state["terminated"].is_object() {
        let found = id(&state["terminated"]).or(last);
        return found.ok_or_else(|| format!("container {container:?} in pod {name:?} is terminated"));
    }
    if let Some(last) = last {
        return Ok(last);
    }
    Err(match state["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => {
            format!("container {container:?} in pod {name:?} is waiting to start: image can't be pulled")
        }
        Some("ImagePullBackOff") => {
            format!("container {container:?} in pod {name:?} is waiting to start: trying and failing to pull image")
        }
        Some(reason) => format!("container {container:?} in pod {name:?} is waiting to start: {reason}"),
        None => format!("container {container:?} in pod {name:?} is waiting to start - no logs yet"),
    })
}
