//! A Woodpecker-style server for piculet's stream.
