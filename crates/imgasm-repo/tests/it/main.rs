//! Tests of repositories, in one program.

mod support;

mod grown;
mod metadata;
mod solver;
mod transport;
