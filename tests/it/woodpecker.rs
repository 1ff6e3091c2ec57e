//! The agent in the place of a Woodpecker agent: against a model of Woodpecker's own server.

mod flows;
mod logs;
mod outages;
mod rights;
mod shutdown;
mod world;
