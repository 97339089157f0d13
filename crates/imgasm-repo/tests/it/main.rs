//! Tests of repositories, in one program.

mod support;

mod grown;
mod metadata;
mod resume;
mod solver;
mod transport;
