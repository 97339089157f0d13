//! Repositories of RPM packages, and what a wish for packages comes to.
//!
//! - [`transport`]: getting files, from folders and from servers.
//! - [`metadata`]: what a repository says it has.
//! - [`package`]: a package, installed or to be had; [`names`]: the texts of all of them, each once.
//! - [`modules`]: the packages that are hidden because they belong to streams of modules.
//! - `oracle`: whether some things can be so together: a SAT solver.
//! - [`pool`]: all packages together, and which of them provide what.
//! - [`wish`]: what is asked for, and the packages that it could mean.
//! - [`mod@solve`]: the packages that come and go.
//! - [`error`]: why any of it failed.

pub mod error;
pub mod metadata;
pub mod modules;
pub mod names;
mod oracle;
pub mod package;
pub mod pool;
pub mod solve;
pub mod transport;
pub mod wish;

pub use error::Error;
pub use pool::Pool;
pub use solve::{Solution, solve};
pub use transport::Transport;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
