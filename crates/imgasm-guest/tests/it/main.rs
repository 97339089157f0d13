//! Tests of `imgasm-guest`, in one program.

mod facts;
mod firstboot;
mod keyfile;
mod selinux;
mod systemd;
mod sysv;
mod users;
