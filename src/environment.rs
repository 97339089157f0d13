//! The environment of the process, read once by `main` and handed down.
//!
//! Nothing else in this crate reads environment variables, so the same arguments and the same
//! [`Environment`] always do the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use imgasm_container::Cache;

use crate::config::Epoch;
use crate::config::given::PREFIX;
use imgasm_fs::Timestamp;
use imgasm_repo::transport::Proxies;

/// The variable with the time that builds give to what they make.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A variable of the environment has an impossible value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name}: {problem}")]
pub struct Error {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

/// The environment of a process. A variable with an empty value counts as not set.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    source_date_epoch: Option<OsString>,
    /// The folder in which unpacked images are kept: `IMGASM_CACHE`, else a folder below
    /// `XDG_CACHE_HOME` or `HOME`; `None` if none of them is set.
    pub cache_dir: Option<PathBuf>,
    /// Whether the cache is used without comparison: not if `CI` is set, because there the jobs of
    /// one pull request may fill the cache for another.
    pub trusts_cache: bool,
    /// Values for sensitive variables, by the rest of the name: `IMGASM_VAR_NAME`. One that is not
    /// text counts as not set.
    pub variables: BTreeMap<String, String>,
    /// Whether commands that open the bytes of strangers shut themselves off from the rest of the
    /// machine.
    pub confines: bool,
    /// The command that edits a file: `VISUAL`, else `EDITOR`.
    pub editor: Option<OsString>,
    /// What is logged, as a filter of `tracing`: `IMGASM_LOG`.
    pub log: Option<String>,
    /// The region to connect to: `AWS_REGION`, else `AWS_DEFAULT_REGION`.
    pub aws_region: Option<String>,
    /// The proxies that repositories are asked through: `HTTP_PROXY` and `HTTPS_PROXY`, else
    /// `ALL_PROXY`, but for the hosts of `NO_PROXY`; or the same in small letters.
    pub proxies: Proxies,
    /// The file with the authorities that connections to AWS trust, and no others: `AWS_CA_BUNDLE`.
    pub aws_authorities: Option<PathBuf>,
    /// The files with profiles of AWS: `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`, else those
    /// in `.aws` below `HOME`.
    pub aws_profiles: Vec<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let name = name.strip_prefix(PREFIX)?.to_owned();
            Some((name, value.into_string().ok()?))
        });
        Self {
            variables: variables.collect(),
            ..Self::read(|name| std::env::var_os(name))
        }
    }

    /// The environment that `variable` gives, without [`Environment::variables`].
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let first = |names: &[&str]| names.iter().find_map(|name| text(name));
        Self {
            source_date_epoch: set(SOURCE_DATE_EPOCH),
            cache_dir: Cache::usual_dir(set),
            confines: true,
            variables: BTreeMap::new(),
            trusts_cache: text("CI").is_none_or(|ci| ci == "false" || ci == "0"),
            editor: set("VISUAL").or_else(|| set("EDITOR")),
            log: text("IMGASM_LOG"),
            proxies: Proxies {
                http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
                https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
                except: first(&["no_proxy", "NO_PROXY"]),
            },
            aws_region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
            aws_authorities: set("AWS_CA_BUNDLE").map(PathBuf::from),
            aws_profiles: [
                ("AWS_CONFIG_FILE", "config"),
                ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            ]
            .into_iter()
            .filter_map(|(name, file)| {
                let usual = || Some(PathBuf::from(set("HOME")?).join(".aws").join(file));
                set(name).map(PathBuf::from).or_else(usual)
            })
            .collect(),
        }
    }

    /// The time that `SOURCE_DATE_EPOCH` names, if it is set.
    ///
    /// # Errors
    /// If it is not a number of seconds since 1970. That is checked here and not by
    /// [`Environment::read`], so that commands which need no time work all the same.
    pub fn source_date_epoch(&self) -> Result<Option<Epoch>, Error> {
        let Some(value) = &self.source_date_epoch else {
            return Ok(None);
        };
        let epoch = value.to_string_lossy().parse();
        epoch.map(Some).map_err(|problem| Error {
            name: SOURCE_DATE_EPOCH,
            problem,
        })
    }

    /// The folder for files that are fetched from servers, if there is one.
    pub fn downloads(&self) -> Option<PathBuf> {
        Some(self.cache_dir.as_ref()?.join("downloads"))
    }

    /// The time that is given to what is made or changed where no recipe names one.
    ///
    /// # Errors
    /// As [`Environment::source_date_epoch`].
    pub fn now(&self) -> Result<Timestamp, Error> {
        let epoch = self.source_date_epoch()?.unwrap_or(Epoch::DEFAULT);
        Ok(Timestamp {
            seconds: epoch.seconds(),
            nanoseconds: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn epoch(value: &[u8]) -> Result<Option<i64>, String> {
        let environment = Environment::read(|name| {
            (name == SOURCE_DATE_EPOCH).then(|| OsStr::from_bytes(value).to_owned())
        });
        let epoch = environment.source_date_epoch();
        epoch
            .map(|epoch| epoch.map(Epoch::seconds))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_time_is_a_number_or_an_error() {
        assert_eq!(epoch(b"1700000000"), Ok(Some(1_700_000_000)));
        assert_eq!(epoch(b""), Ok(None));
        for bad in [&b"-5"[..], b"yesterday", b"\xff", b"1 "] {
            let error = epoch(bad).unwrap_err();
            assert!(error.contains(SOURCE_DATE_EPOCH), "{error}");
        }
    }

    #[test]
    fn the_cache_is_not_trusted_in_ci() {
        for (ci, expected) in [("true", false), ("1", false), ("", true), ("false", true)] {
            let environment = Environment::read(|name| (name == "CI").then(|| ci.into()));
            assert_eq!(environment.trusts_cache, expected, "{ci:?}");
        }
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let environment = Environment::read(|name| match name {
            "AWS_REGION" | "IMGASM_CACHE" => Some(OsString::new()),
            "AWS_DEFAULT_REGION" => Some("eu-west-1".into()),
            "HOME" => Some("/home/x".into()),
            _ => None,
        });
        assert_eq!(environment.aws_region.as_deref(), Some("eu-west-1"));
        let dir = environment.cache_dir.unwrap();
        assert!(dir.starts_with("/home/x"), "{}", dir.display());
    }
}
