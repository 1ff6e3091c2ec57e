//! The web page in a real browser: Chromium without a window, on a real server over loopback. Agents are written by the
//! tests. Where there is no Chromium the tests say so, loudly.
//!
//! With `PICULET_PICTURES=FOLDER` they leave pictures of the views there.

#![expect(clippy::unwrap_used, reason = "a test that can't go on shall panic")]

#[expect(dead_code, reason = "the tests of the server's borders need more of it")]
#[path = "../server/agent.rs"]
mod agent;
mod browser;
mod hostile;
mod log;
mod overview;
mod site;
mod token;
mod workflow;
