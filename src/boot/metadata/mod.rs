//! The instance metadata service that the machine finds at 169.254.169.254.
//!
//! - [`Instance`]: what it says of the instance; [`tree`] makes paths of it, as EC2 has them.
//! - [`server`]: the service, with and without session tokens.
//! - [`relay`]: what joins a connection of the machine to it.

pub mod relay;
pub mod server;
mod tree;

use imgasm_guest::Arch;

/// The address at which the machine finds the service.
pub const ADDRESS: &str = "169.254.169.254";

/// What the service says of an instance. Nothing of it exists: the account is the one that AWS's
/// documentation uses, and the ids say what they are.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The name, which becomes the tag `Name`.
    pub name: String,
    /// The region.
    pub region: String,
    /// The processor.
    pub arch: Arch,
    /// The devices of its volumes, the root first.
    pub devices: Vec<String>,
    /// The user data, if there is some.
    pub user_data: Option<Vec<u8>>,
    /// Whether requests need a session token.
    pub requires_token: bool,
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

    /// The type: one of EC2's for the processor.
    pub fn kind(&self) -> &'static str {
        match self.arch {
            Arch::Arm64 => "m6g.large",
            _ => "m5.large",
        }
    }
}
