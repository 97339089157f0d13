//! Whether a failure is one for a moment, one until something is done about it, or one for good.
//!
//! One table serves every call of every service. Its sources: the EC2 API reference ("Error codes",
//! "Eventual consistency"), the references of EBS direct, S3 and Systems Manager, and what users of
//! other tools report of EC2 as it behaves (as of 2026-11):
//! - what was just made is not found by the next request, sometimes for minutes: also a snapshot by
//!   `PutSnapshotBlock`, `CreateTags` and `RegisterImage`, and an AMI by `ModifyImageAttribute`;
//! - `PutSnapshotBlock` answers `ValidationException: Failed to read block data` for a moment;
//! - `CopyImage` answers `ResourceLimitExceeded` while too many copies are under way;
//! - a role that was just made is not seen at once by the import service.

use std::time::Duration;

use crate::Error;

/// How a failure will look if the same is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// The service is busy, did not answer, or had a fault of its own: soon it will do.
    Busy,
    /// The account has as much under way as it may: when some of it is done, it will do.
    Full,
    /// The thing is not known. If it was just made, it soon will be.
    NotFound,
    /// The role is not usable. If it was just made, it soon will be.
    Role,
    /// The credentials have expired: it will do for whoever signs in again.
    SignIn,
    /// It will fail again.
    Final,
}

impl Outlook {
    /// How long it is tried again, for something that was `just_made` or is older.
    pub fn patience(self, just_made: bool) -> Duration {
        match self {
            Self::Busy => Duration::from_mins(10),
            Self::Full => Duration::from_hours(1),
            Self::NotFound if just_made => Duration::from_mins(5),
            Self::Role => Duration::from_secs(15),
            Self::NotFound | Self::SignIn | Self::Final => Duration::ZERO,
        }
    }
}

impl Error {
    /// How it will look if the same is tried again.
    pub fn outlook(&self) -> Outlook {
        match self {
            Self::Network { .. } => Outlook::Busy,
            Self::Service { code, message, .. } => of_service(code.as_deref(), message),
            _ => Outlook::Final,
        }
    }

    /// Whether a further run can go on with what was made until here, so that it is worth keeping:
    /// the failure passes, or the user can do something about it.
    pub fn is_for_now(&self) -> bool {
        match self {
            Self::TimeOut { .. } | Self::Credentials { .. } => true,
            other => !matches!(
                other.outlook(),
                Outlook::Final | Outlook::NotFound | Outlook::Role
            ),
        }
    }
}

fn of_service(code: Option<&str>, message: &str) -> Outlook {
    let says = |text: &str| message.to_ascii_lowercase().contains(text);
    let Some(code) = code else {
        // An answer that is no service's: something on the way made it.
        return Outlook::Busy;
    };
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "PriorRequestNotComplete"
        | "OperationAborted"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "InternalServerException"
        | "InternalServerError"
        | "InternalError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "ServiceInternalError"
        | "Unavailable"
        | "503" => Outlook::Busy,
        "ValidationException" if says("failed to read block data") => Outlook::Busy,
        "ConcurrentSnapshotLimitExceeded"
        | "PendingSnapshotLimitExceeded"
        | "SnapshotCreationPerVolumeRateExceeded"
        | "ConcurrentCreateImageNoRebootLimitExceeded" => Outlook::Full,
        "ResourceLimitExceeded" if says("cop") || says("in progress") => Outlook::Full,
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "TokenRefreshRequired" => {
            Outlook::SignIn
        }
        "InvalidSnapshot.NotFound"
        | "InvalidAMIID.NotFound"
        | "InvalidAMIID.Unavailable"
        | "InvalidConversionTaskId"
        | "InvalidConversionTaskId.Malformed"
        | "InvalidTaskId.NotFound"
        | "InvalidID"
        | "ResourceNotFoundException"
        | "NoSuchUpload"
        | "NoSuchKey" => Outlook::NotFound,
        "InvalidParameter" | "InvalidParameterValue" if says("service role") => Outlook::Role,
        _ => Outlook::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook(code: &str, message: &str) -> Outlook {
        let error = Error::Service {
            doing: "try".to_owned(),
            code: Some(code.to_owned()),
            message: message.to_owned(),
        };
        error.outlook()
    }

    /// What was reported of EC2, and what it came to.
    #[test]
    fn what_passes_passes() {
        let passing = [
            ("SlowDown", ""),
            ("RequestLimitExceeded", "Request limit exceeded."),
            ("ValidationException", "Failed to read block data"),
            (
                "ResourceLimitExceeded",
                "You have exceeded the number of snapshot copies in progress",
            ),
        ];
        for (code, message) in passing {
            let outlook = outlook(code, message);
            assert!(outlook.patience(false) >= Duration::from_mins(2), "{code}");
        }
        for code in [
            "InvalidSnapshot.NotFound",
            "InvalidAMIID.Unavailable",
            "ResourceNotFoundException",
        ] {
            assert_eq!(outlook(code, "").patience(false), Duration::ZERO, "{code}");
            assert!(
                outlook(code, "").patience(true) >= Duration::from_mins(2),
                "{code}"
            );
        }
        for (code, message) in [
            ("ValidationException", "The checksum does not match"),
            ("UnauthorizedOperation", ""),
            ("InvalidAMIName.Duplicate", ""),
            ("ResourceCountLimitExceeded", ""),
        ] {
            assert_eq!(outlook(code, message), Outlook::Final, "{code}");
        }
    }
}
