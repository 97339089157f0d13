//! What imgasm knows about a Linux root filesystem.
//!
//! - [`facts`]: which system it is, as one value, for `when` guards.
//! - [`os_release`]: the distribution, by `/etc/os-release`.
//! - [`init`]: which init system starts it.
//! - [`arch`]: which processor its programs are for.
//! - [`accounts`]: the users and groups of `/etc/passwd` and `/etc/group`.
//! - [`colon_file`]: a file of lines with fields between colons, such as `passwd`.
//! - [`capabilities`]: a program's capabilities, as text and as its attribute.
//! - [`dnf`]: which repositories of packages it asks.
//! - [`files`]: small files of the guest, read whole, with one limit.
//! - [`firstboot`]: a script that runs once.
//! - [`loader`]: the cache of the dynamic loader.
//! - [`selinux`]: the label that the guest's policy gives a path.
//! - [`services`]: what starts at boot.
//! - [`trust`]: which certificate authorities programs trust.
//! - [`users`]: new users and groups.
//! - [`fstab`]: what is mounted where.
//! - [`keyfile`]: configuration files in which one key is set and everything else stays.
//! - [`packages`]: what is installed, and installing RPM files.

pub mod accounts;
pub mod arch;
pub mod capabilities;
pub mod colon_file;
pub mod dnf;
pub mod facts;
pub mod files;
pub mod firstboot;
pub mod fstab;
pub mod init;
pub mod keyfile;
pub mod loader;
pub mod os_release;
pub mod packages;
pub mod selinux;
pub mod services;
pub mod trust;
pub mod users;

pub use accounts::Accounts;
pub use arch::Arch;
pub use facts::Facts;
pub use files::known_path;
pub use init::Init;
pub use os_release::OsRelease;
