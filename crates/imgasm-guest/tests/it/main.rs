//! Tests of `imgasm-guest`, in one program.

mod convert;
mod databases;
mod deferred;
mod dnf;
mod dnf_history;
mod facts;
mod fates;
mod firstboot;
mod keyfile;
mod loader;
mod ndb;
mod ndb_files;
mod omissions;
mod openpgp;
mod rpm_files;
mod selinux;
mod systemd;
mod sysusers;
mod sysv;
mod transactions;
mod triggers;
mod users;
