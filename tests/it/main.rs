//! Agent, server stub and fake cluster together, in one process.
