//! Tests of repositories, in one program.

mod support;

mod grown;
mod metadata;
mod modules;
mod resume;
mod solver;
mod transport;
