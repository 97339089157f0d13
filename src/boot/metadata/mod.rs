//! The instance metadata service that the machine finds at 169.254.169.254.
//!
//! - [`Instance`]: what it says about the instance; [`tree`] makes EC2's paths from it.
//! - [`server`]: the service, with and without session tokens.
//! - [`relay`]: connects the machine to it.

pub mod relay;
pub mod server;
mod tree;

use imgasm_guest::Arch;

/// The address at which the machine finds the service.
pub const ADDRESS: &str = "169.254.169.254";

/// What the service says about an instance. None of it exists: the account is the one in AWS's
/// documentation, and the ids show that they are not real.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The name, which is also the tag `Name`.
    pub name: String,
    /// The region.
    pub region: String,
    /// The processor.
    pub arch: Arch,
    /// The devices of its volumes, the root first.
    pub devices: Vec<String>,
    /// The user data, if there is some.
    pub user_data: Option<Vec<u8>>,
    /// The public key of the key pair that it was started with, if with one: a line of OpenSSH.
    pub ssh_key: Option<String>,
    /// Whether requests need a session token.
    pub requires_token: bool,
    /// Whether it has a TPM 2.0.
    pub has_tpm: bool,
    /// Seconds since 1970, for the instance's start and its credentials.
    pub now: i64,
}

impl Instance {
    /// The id of the instance.
    pub const ID: &'static str = "i-0000000000000b007";
    /// The address of its network card.
    pub const MAC: &'static str = "02:00:00:00:b0:07";
    /// Its address in the network.
    pub const ADDRESS: &'static str = "172.31.16.10";

    /// The type: one that EC2 has for the processor.
    pub fn kind(&self) -> &'static str {
        match self.arch {
            Arch::Arm64 => "m6g.large",
            _ => "m5.large",
        }
    }
}
