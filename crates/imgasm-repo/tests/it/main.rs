//! Tests of repositories, in one program.

mod support;

mod advisories;
mod grown;
mod metadata;
mod modules;
mod resume;
mod solver;
mod transport;
