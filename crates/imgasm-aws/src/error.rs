//! Why an import, a pull or a clean-up could not be done, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image is for another processor.
    #[error("{0}")]
    Architecture(String),
    /// The image does not start as it is to be registered.
    #[error("{0}")]
    Boot(String),
    /// The root volume would be smaller than the image.
    #[error("`ami_root_device` has {asked} GiB, and the image needs {needed}")]
    RootTooSmall {
        /// GiB asked for.
        asked: u64,
        /// GiB of the image.
        needed: u64,
    },
    /// A block device mapping cannot be.
    #[error("{0}")]
    Mapping(String),
    /// There is no region.
    #[error("no region is named")]
    NoRegion,
    /// The bucket is elsewhere.
    #[error("the bucket {bucket} is in {found}, and the import is to happen in {wanted}")]
    BucketRegion {
        /// The bucket.
        bucket: String,
        /// Its region.
        found: String,
        /// The region of the import.
        wanted: String,
    },
    /// An AMI of the name is there already.
    #[error("an AMI of the name {name:?} is there already in {region}: {id}")]
    NameTaken {
        /// The name.
        name: String,
        /// The other AMI.
        id: String,
        /// Its region.
        region: String,
    },
    /// The AMI that has the name must not be deregistered.
    #[error("the AMI {id} in {region}, which has the name {name:?}, cannot make room: {why}")]
    Protected {
        /// The name.
        name: String,
        /// The AMI that has it.
        id: String,
        /// Its region.
        region: String,
        /// What protects it.
        why: String,
    },
    /// The credentials are another account's than the recipe's.
    #[error("the recipe is for the account {wanted}, and the credentials are of {found}: {arn}")]
    Account {
        /// The account that the recipe names.
        wanted: String,
        /// The account of the credentials.
        found: String,
        /// Whose the credentials are.
        arn: String,
    },
    /// What a service would refuse.
    #[error("{0}")]
    Limit(String),
    /// A service said no.
    #[error("cannot {doing}: {service}{message}", service = code.as_ref().map(|c| format!("{c}: ")).unwrap_or_default())]
    Service {
        /// What was tried.
        doing: String,
        /// The service's word for it.
        code: Option<String>,
        /// The service's own message.
        message: String,
    },
    /// There is nobody to ask as.
    #[error("no credentials: {message}")]
    Credentials {
        /// What was looked for.
        message: String,
    },
    /// A role asks for a code, and there is nobody to ask for one.
    #[error(
        "the role of the profile {profile} asks for a code of {device}, and there is no terminal to \
         ask for it on"
    )]
    Factor {
        /// The profile.
        profile: String,
        /// The MFA device.
        device: String,
    },
    /// The authorities cannot be read.
    #[error("cannot trust the authorities of {}, which AWS_CA_BUNDLE names: {problem}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The import service's role cannot be used.
    #[error("the import service cannot take the role {role}: {problem}")]
    Role {
        /// The role.
        role: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A service could not be asked.
    #[error("cannot {doing}: no answer: {message}")]
    Network {
        /// What was tried.
        doing: String,
        /// What went wrong.
        message: String,
    },
    /// An import came to nothing.
    #[error("the import of {file} failed: {message}")]
    Import {
        /// The disk's file.
        file: String,
        /// What EC2 said.
        message: String,
    },
    /// A snapshot is not the disk that it was made of.
    #[error("the snapshot {snapshot} is not {file}: {problem}")]
    Content {
        /// The snapshot.
        snapshot: String,
        /// The disk's file.
        file: String,
        /// What differs.
        problem: String,
    },
    /// What was made is not what was asked for.
    #[error("{what} is not what was asked for: {}", differences.join("; "))]
    Differs {
        /// What was made.
        what: String,
        /// What differs.
        differences: Vec<String>,
    },
    /// Something took too long.
    #[error("{what} is not done after {seconds} seconds; last it was {state}")]
    TimeOut {
        /// What.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was seen last.
        state: String,
    },
    /// A service answered something that makes no sense.
    #[error("{what}: {problem}")]
    Answer {
        /// What was looked at.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
    /// What was asked for is not an AMI that can be pulled.
    #[error("{0}")]
    Source(String),
    /// A journal cannot be used.
    #[error("cannot {operation} the journal {}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the host said.
        source: io::Error,
    },
    /// The image's container.
    #[error(transparent)]
    Container(#[from] imgasm_container::Error),
    /// The image's bytes.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

/// What is done here returns this.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoRegion => {
                "name one with --region, AWS_REGION or `region` in the recipe's [ami]"
            }
            Self::BucketRegion { .. } => {
                "the import service reads buckets of its own region only: choose a bucket there, \
                 or another --region and `ami_regions` for the copies"
            }
            Self::NameTaken { .. } => {
                "put {{ timestamp }} into `ami_name`, or replace the other AMI with \
                 --force-deregister"
            }
            Self::Boot(_) => {
                "correct the recipe's [ami] or the image; `imgasm verify` looks at how it starts"
            }
            Self::Architecture(_) => "correct `architecture` in the recipe, or the base",
            Self::RootTooSmall { .. } => "leave `volume_size` out for the image's own size",
            Self::Protected { .. } => {
                "turn its protection off (`aws ec2 disable-image-deregistration-protection`), or \
                 put {{ timestamp }} into `ami_name`"
            }
            Self::Account { .. } => {
                "name a profile of that account with --profile, or correct `account` in the \
                 recipe's [ami]"
            }
            Self::TimeOut { .. } => {
                "run the same command again: it goes on with what is under way; --timeout waits \
                 longer, and `imgasm gc` removes what is left"
            }
            Self::Content { .. } => {
                "--via ebs writes the blocks themselves; --verify-snapshot=off does not look"
            }
            Self::Interrupted => "a further run goes on where this one was, with --on-error=keep",
            Self::Credentials { .. } => {
                "name a profile with --profile or AWS_PROFILE, sign in with `aws login` or `aws sso login`, or \
                 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            Self::Factor { .. } => {
                "run it on a terminal, or get a session there first, for the environment of this \
                 one: `aws configure export-credentials --profile NAME --format env`"
            }
            Self::Authorities { .. } => "it must be a file of certificates in PEM form",
            Self::Role { .. } => ROLE,
            Self::Network { .. } => {
                "look at the network, at HTTPS_PROXY and at --endpoint-url; a further run goes on \
                 where this one was"
            }
            Self::Service { code, message, .. } => {
                return explain(code.as_deref().unwrap_or_default(), message);
            }
            Self::Import { message, .. } => return explain("", message),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What to do about a service's own words. The codes are those of the EC2 API reference ("Error
/// codes"), S3's ("Error responses") and the VM Import/Export user guide ("Troubleshooting").
fn explain(code: &str, message: &str) -> Option<String> {
    let message = message.to_ascii_lowercase();
    let says = |text: &str| message.contains(text);
    let is_about_key = code.starts_with("KMS") || code.contains("Kms") || says("kms key");
    let hint = match code {
        "RequestTimeTooSkewed" | "RequestInTheFuture" => CLOCK,
        _ if says("signature expired") || says("signature not yet current") => CLOCK,
        _ if says("explicit deny") => {
            "a policy forbids it whatever else allows it: a service control policy of the \
             organization, a permissions boundary, or a statement with Deny; whoever keeps it can \
             say which"
        }
        _ if is_about_key && (says("disabled") || says("pending") || says("invalid state")) => {
            "the key cannot be used as it is: look at its state with `aws kms describe-key`; one that \
             is pending deletion can be brought back with `aws kms cancel-key-deletion`"
        }
        _ if is_about_key => {
            "look whether the key is there, in this region, and whether its policy allows the caller \
             and, for --via s3, the import service's role: `imgasm import --dry-run` prints both"
        }
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "the credentials have expired: sign in again (`aws sso login`, or a new session) and \
             run the same command; it goes on where this one was"
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "AuthFailure"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch" => {
            "the credentials are not valid: look at `aws sts get-caller-identity` with the same \
             profile, and at the clock"
        }
        "NoSuchBucket" => "there is no such bucket: make it, or name another with --bucket",
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            "the bucket is in another region: choose one in the region of the import"
        }
        "ParameterNotFound" => {
            "look at the name, and at --region: every region has parameters of its own"
        }
        "InvalidAMIName.Duplicate" => {
            "put {{ timestamp }} into `ami_name`, or replace the other AMI with --force-deregister"
        }
        "ResourceCountLimitExceeded"
        | "SnapshotLimitExceeded"
        | "ServiceQuotaExceededException"
        | "ConcurrentSnapshotLimitExceeded"
        | "MaxSnapshotLimitExceeded" => {
            "a quota of the account is reached: wait until other imports are done, remove what is \
             not needed (`imgasm gc`), or ask for more in Service Quotas"
        }
        "InvalidParameter" | "InvalidParameterValue" if says("role") => ROLE,
        _ if says("disk validation failed")
            && (says("403") || says("forbidden") || says("access denied")) =>
        {
            ROLE
        }
        _ if says("disk validation failed") => {
            "the import service did not like the disk: try another --disk-format (vmdk, vhd, raw) \
             or --via ebs, and look at the image with `imgasm verify`"
        }
        _ if says("unsupported") && says("format") => "try another --disk-format: vmdk, vhd or raw",
        _ if says("access denied")
            || says("s3:getobject")
            || says("insufficient permission")
            || says("does not have sufficient") =>
        {
            ROLE
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation"
            if says("encoded authorization") =>
        {
            "the caller may not do that: `aws sts decode-authorization-message` says why, and \
             `imgasm import --dry-run` prints the policy that it needs"
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            "the caller may not do that: `imgasm import --dry-run` prints the policy that it needs"
        }
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "RequestThrottledException" => {
            "the service asks to be asked less often: run the command again later; it goes on \
             where this one was"
        }
        _ if says("not local to the region") || says("wrong region") => {
            "the bucket is in another region: choose one in the region of the import"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The time of a request is part of its signature.
const CLOCK: &str = "the clock of this machine is wrong: AWS takes requests whose time is right by five \
    minutes; set it (`timedatectl set-ntp true`) and run the same command";

/// What the import service needs of its role.
const ROLE: &str = "the import service reads the bucket by a role, `vmimport` unless --role names \
    another: it must exist, trust vmie.amazonaws.com (sts:ExternalId `vmimport`), and be allowed \
    s3:GetBucketLocation, s3:GetObject and s3:ListBucket on the bucket; `imgasm import --dry-run` \
    prints that policy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_cause() {
        for (code, message, word) in [
            (
                "",
                "ClientError: Disk validation failed [403: Access Denied]",
                "vmie.amazonaws.com",
            ),
            (
                "",
                "ClientError: Disk validation failed [unsupported]",
                "--disk-format",
            ),
            ("RequestTimeTooSkewed", "", "clock"),
            (
                "AuthFailure",
                "Signature not yet current: 20300101T000000Z",
                "clock",
            ),
            ("AuthFailure", "", "get-caller-identity"),
            (
                "UnauthorizedOperation",
                "not authorized ... with an explicit deny in a service control policy",
                "forbids",
            ),
            (
                "UnauthorizedOperation",
                "Encoded authorization failure message: abc",
                "decode-authorization-message",
            ),
            ("UnauthorizedOperation", "", "--dry-run"),
            (
                "KMSInvalidStateException",
                "arn:aws:kms:x is pending deletion",
                "cancel-key-deletion",
            ),
            ("InvalidKmsKey.NotFound", "no such key", "in this region"),
        ] {
            let hint = explain(code, message).unwrap_or_default();
            assert!(hint.contains(word), "{code} {message}: {hint}");
        }
    }
}
