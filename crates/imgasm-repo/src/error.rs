//! Why repositories could not be read, or wishes not be met.

use std::io;
use std::path::PathBuf;

use imgasm_block::Digest;

/// What can go wrong with repositories.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be had.
    #[error("cannot get {url}: {problem}")]
    Fetch {
        /// Where it should be.
        url: String,
        /// Why not.
        problem: String,
    },
    /// A file is not the one that is meant.
    #[error("{url} has the SHA-256 {found}, not {wanted}")]
    OtherFile {
        /// Where it is.
        url: String,
        /// What its digest should be.
        wanted: Digest,
        /// What it is.
        found: Digest,
    },
    /// None of the places where a repository should be has it.
    #[error("the repository `{id}` cannot be read: {}", problems.join("; "))]
    Repository {
        /// Its name.
        id: String,
        /// One line for each place.
        problems: Vec<String>,
    },
    /// Metadata is damaged or hostile.
    #[error("{url}: {problem}")]
    Metadata {
        /// The file.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A file on the host could not be written.
    #[error("cannot write {}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// Nothing fits a wish.
    #[error("{what} `{wish}`")]
    NoMatch {
        /// What was looked for.
        what: &'static str,
        /// The wish.
        wish: String,
    },
    /// A wish cannot be read.
    #[error("`{wish}` {problem}")]
    BadWish {
        /// The wish.
        wish: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The modules that the system has chosen cannot be had.
    #[error("modules: {problem}")]
    Modules {
        /// What is wrong with them.
        problem: String,
    },
    /// The wishes cannot be met together.
    #[error("the packages that are wished for cannot be had together:\n  - {}", problems.join("\n  - "))]
    Unsolvable {
        /// Why, each line a fact; together they contradict each other.
        problems: Vec<String>,
    },
    /// The search for a solution was ended.
    #[error(
        "these wishes are too hard to be solved: no solution was found, nor shown that there is none"
    )]
    TooHard,
    /// What is installed depends on something that is too complicated to be followed.
    #[error("{package}: the dependency `{dependency}` is too complicated")]
    Dependency {
        /// The package.
        package: String,
        /// What it says.
        dependency: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Repository { .. } => {
                Some("`baseurl` names the folder in which `repodata` is; is it the right one?")
            }
            Self::Modules { .. } => Some(
                "`dnf module list` on a machine of this system shows its modules; what was chosen of \
                 them lies in /etc/dnf/modules.d",
            ),
            Self::NoMatch { .. } => {
                Some("`dnf list` on a machine of this system shows what its repositories have")
            }
            Self::Unsolvable { .. } => Some(
                "ask for other versions, allow what stands in the way to be removed, or leave \
                 one of the wishes out",
            ),
            Self::TooHard => {
                Some("wish for fewer packages at once, or for certain versions of them")
            }
            _ => None,
        }
    }
}
