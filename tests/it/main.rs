//! Tests of the tool and its library, in one program.

mod assemble;
#[cfg(feature = "aws")]
mod aws_blocks;
#[cfg(feature = "aws")]
mod aws_faults;
#[cfg(feature = "aws")]
mod aws_import;
#[cfg(feature = "aws")]
mod aws_network;
#[cfg(feature = "aws")]
mod aws_passing;
#[cfg(feature = "aws")]
mod aws_plan;
#[cfg(feature = "aws")]
mod aws_pull;
#[cfg(feature = "aws")]
mod aws_replace;
#[cfg(feature = "aws")]
mod aws_told;
mod boot;
mod build_example;
mod build_interrupted;
mod build_reproduce;
mod check;
mod cli;
mod convert;
mod diff_edits;
mod diff_known;
mod diff_memory;
mod diff_packages;
mod diff_page;
mod diff_sides;
mod example_mounted;
mod firstrun;
mod ls;
mod maps;
mod mutation_inputs;
mod overlay_errors;
mod overlay_guest_steps;
mod overlay_steps;
mod packages;
mod packages_database;
mod recipe;
mod session;
mod sparsify;
mod stock_overlays;
mod stock_overlays_on_disk;
mod support;
mod verify_boot;
mod verify_expect;
mod xfs_blocktrash;
