//! The agent in the place of a Woodpecker agent: against a model of Woodpecker's own server.

mod busy;
mod faults;
mod flows;
mod logs;
mod outages;
mod registration;
mod rights;
mod shutdown;
mod world;
