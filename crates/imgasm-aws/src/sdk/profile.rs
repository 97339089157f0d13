//! What a profile asks for and the SDK does not do: a role that wants a code of an MFA device, for which
//! the SDK would ask without one, and be refused; and a session of `aws login`, which the AWS CLI keeps
//! and renews.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_config::credential_process::CredentialProcessProvider;
use aws_config::profile::{Profile, ProfileFileCredentialsProvider, ProfileSet, load};
use aws_config::provider_config::ProviderConfig;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};
use aws_types::os_shim_internal::{Env, Fs};

use super::connect::{Settings, failed};
use crate::{Error, Result};

/// What sessions are called whose profile does not say.
const SESSION: &str = "imgasm";

/// The credentials of the profile that counts, if it is such a one.
pub(super) async fn credentials(
    settings: &Settings,
    environment: &ProviderConfig,
    config: &SdkConfig,
) -> Result<Option<SharedCredentialsProvider>> {
    let (files, variables) = (Fs::real(), Env::real());
    // Keys of the environment count before a profile that nobody has named here.
    if settings.profile.is_none() && variables.get("AWS_ACCESS_KEY_ID").is_ok() {
        return Ok(None);
    }
    let named = settings.profile.clone().map(Into::into);
    let all = load(&files, &variables, &EnvConfigFiles::default(), named).await;
    // What is wrong with the files is the SDK's to say.
    let Ok(all) = all else { return Ok(None) };
    let Some(profile) = all.get_profile(all.selected_profile()) else {
        return Ok(None);
    };
    if let Some(role) = Role::of(profile) {
        let source = source(&all, profile, role.source, environment);
        return role
            .credentials(source, config, settings.ask)
            .await
            .map(Some);
    }
    Ok(session(profile))
}

/// The credentials of a session of `aws login`. The AWS CLI knows how to renew them, and is there where
/// somebody has signed in with it.
fn session(profile: &Profile) -> Option<SharedCredentialsProvider> {
    let is_other = ["role_arn", "aws_access_key_id"]
        .iter()
        .any(|key| profile.get(key).is_some());
    if is_other || profile.get("login_session").is_none() {
        return None;
    }
    let name = profile.name().replace('\'', r"'\''");
    let command = format!("aws configure export-credentials --profile '{name}' --format process");
    let provider = CredentialProcessProvider::new(command);
    Some(SharedCredentialsProvider::new(provider))
}

/// Whose credentials ask for a role: another profile's, or the keys that stand beside the role.
fn source(
    all: &ProfileSet,
    profile: &Profile,
    name: &str,
    environment: &ProviderConfig,
) -> SharedCredentialsProvider {
    let own = profile
        .get("aws_access_key_id")
        .zip(profile.get("aws_secret_access_key"));
    if let (true, Some((id, secret))) = (name == profile.name(), own) {
        let token = profile.get("aws_session_token").map(ToOwned::to_owned);
        let keys = Credentials::new(id, secret, token, None, "a profile");
        return SharedCredentialsProvider::new(keys);
    }
    all.get_profile(name).and_then(session).unwrap_or_else(|| {
        SharedCredentialsProvider::new(
            ProfileFileCredentialsProvider::builder()
                .configure(environment)
                .profile_name(name)
                .build(),
        )
    })
}

/// A role that wants a code, as a profile has it.
struct Role<'a> {
    profile: &'a Profile,
    arn: &'a str,
    device: &'a str,
    source: &'a str,
}

impl<'a> Role<'a> {
    fn of(profile: &'a Profile) -> Option<Self> {
        Some(Self {
            profile,
            arn: profile.get("role_arn")?,
            device: profile.get("mfa_serial")?,
            source: profile.get("source_profile")?,
        })
    }

    /// The role's credentials, for a code that `ask` brings. They are not renewed: that would take
    /// another code.
    async fn credentials(
        &self,
        source: SharedCredentialsProvider,
        config: &SdkConfig,
        ask: Option<fn(&str) -> Option<String>>,
    ) -> Result<SharedCredentialsProvider> {
        let Some(code) = ask.and_then(|ask| ask(self.device)) else {
            return Err(Error::Factor {
                profile: self.profile.name().to_owned(),
                device: self.device.to_owned(),
            });
        };
        let text = |key: &str| self.profile.get(key).map(ToOwned::to_owned);
        let seconds = text("duration_seconds").and_then(|it| it.parse().ok());
        let config = config.to_builder().credentials_provider(source).build();
        let call = aws_sdk_sts::Client::new(&config)
            .assume_role()
            .role_arn(self.arn)
            .role_session_name(text("role_session_name").unwrap_or_else(|| SESSION.to_owned()))
            .set_external_id(text("external_id"))
            .set_duration_seconds(seconds)
            .serial_number(self.device)
            .token_code(code);
        let doing = format!("take the role {}", self.arn);
        let answer = call.send().await.map_err(failed(doing))?;
        let given = answer.credentials().ok_or_else(|| Error::Answer {
            what: self.arn.to_owned(),
            problem: "the answer has no credentials".to_owned(),
        })?;
        let ends = SystemTime::try_from(*given.expiration()).ok();
        Ok(SharedCredentialsProvider::new(Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            ends,
            "a role with a code",
        )))
    }
}
