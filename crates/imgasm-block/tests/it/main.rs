//! Tests of `imgasm-block`, in one program.

mod chunk_map;
mod delta;
mod in_place;
mod output;
mod verified;
