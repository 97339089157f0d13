//! Tests of `imgasm-guest`, in one program.

mod facts;
mod firstboot;
mod keyfile;
mod openpgp;
mod selinux;
mod systemd;
mod sysusers;
mod sysv;
mod transactions;
mod users;
