//! The vocabulary of overlays: one file per kind of step.
//!
//! A kind is a struct with the keys of its table and an `apply`. To add one, add its file, and its
//! line in [`Action`].
//!
//! - [`context`]: what every step works with.
//! - Contents: [`append_line`], [`copy`], [`edit`], [`set`], [`truncate`], [`unpack`],
//!   [`write`](mod@write).
//! - Names: [`hardlink`], [`mkdir`], [`mknod`], [`move_to`], [`remove`], [`symlink`].
//! - Attributes: [`chmod`], [`chown`], [`xattr`].
//! - The system: [`ca_certificate`], [`firstboot`], [`fstab`], [`group`], [`hostname`],
//!   [`kernel_args`], [`locale`], [`package`], [`service`], [`ssh_key`], [`swap`], [`sysctl`],
//!   [`systemd_dropin`], [`timezone`], [`user`] with [`password`], [`usermod`].

mod append_line;
mod ca_certificate;
mod chmod;
mod chown;
mod copy;
pub(in crate::overlay) mod edit;
mod firstboot;
mod fstab;
mod group;
mod hardlink;
mod hostname;
mod kernel_args;
mod locale;
mod mkdir;
mod mknod;
mod move_to;
pub mod package;
mod password;
mod remove;
mod service;
mod set;
mod ssh_key;
mod swap;
mod symlink;
mod sysctl;
mod systemd_dropin;
mod timezone;
mod truncate;
mod unpack;
mod user;
mod usermod;
mod write;
mod xattr;

mod context;

use std::path::Path;

use serde::Deserialize;

pub use context::{Context, Error};

/// Declares the kinds of steps: for each its name in TOML, its variant, and its type.
macro_rules! actions {
    ($($name:literal => $variant:ident($step:ty),)*) => {
        /// What a step does.
        #[derive(Debug, Clone, Deserialize)]
        pub enum Action {
            $(
                #[doc = concat!("A step `", $name, "`.")]
                #[serde(rename = $name)]
                $variant($step),
            )*
        }

        impl Action {
            /// The names of all kinds.
            pub const KINDS: [&str; [$($name),*].len()] = [$($name),*];

            /// The name of this kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// The files in the overlay's folder that the step names.
            pub fn host_files(&self) -> Vec<&Path> {
                match self {
                    Self::Copy(step) => step.host_file().into_iter().collect(),
                    Self::CaCertificate(step) => step.host_file().into_iter().collect(),
                    Self::Firstboot(step) => step.host_file().into_iter().collect(),
                    Self::Package(step) => step.host_files().collect(),
                    Self::Unpack(step) => step.host_files().collect(),
                    _ => Vec::new(),
                }
            }

            /// Does what the step says.
            pub fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
                match self {
                    $(Self::$variant(step) => step.apply(context),)*
                }
            }
        }
    };
}

actions! {
    "write" => Write(write::Write),
    "copy" => Copy(copy::Copy),
    "unpack" => Unpack(unpack::Unpack),
    "append_line" => AppendLine(append_line::AppendLine),
    "edit" => Edit(edit::Edit),
    "set" => Set(set::Set),
    "remove" => Remove(remove::Remove),
    "move" => Move(move_to::Move),
    "mkdir" => Mkdir(mkdir::Mkdir),
    "symlink" => Symlink(symlink::Symlink),
    "hardlink" => Hardlink(hardlink::Hardlink),
    "truncate" => Truncate(truncate::Truncate),
    "chmod" => Chmod(chmod::Chmod),
    "chown" => Chown(chown::Chown),
    "xattr" => Xattr(xattr::Xattr),
    "mknod" => Mknod(mknod::Mknod),
    "timezone" => Timezone(timezone::Timezone),
    "hostname" => Hostname(hostname::Hostname),
    "locale" => Locale(locale::Locale),
    "sysctl" => Sysctl(sysctl::Sysctl),
    "kernel_args" => KernelArgs(kernel_args::KernelArgs),
    "systemd_dropin" => SystemdDropin(systemd_dropin::SystemdDropin),
    "fstab" => Fstab(fstab::Fstab),
    "swap" => Swap(swap::Swap),
    "ca_certificate" => CaCertificate(ca_certificate::CaCertificate),
    "user" => User(user::User),
    "usermod" => Usermod(usermod::Usermod),
    "group" => Group(group::Group),
    "ssh_key" => SshKey(ssh_key::SshKey),
    "service" => Service(service::Service),
    "package" => Package(package::Packages),
    "firstboot" => Firstboot(firstboot::Firstboot),
}
