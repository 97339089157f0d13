//! Credentials, network and the clients of the services.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::{ProvideRegion, RegionProviderChain};
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::config::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::service_config::ServiceConfigKey;
use tokio::runtime::{self, Runtime};

use super::kept::Kept;
use super::profile;
use super::transport::Transport;
use crate::{Error, Report, Result};

/// How long one try may take: a part of a multipart upload on a slow line.
const ATTEMPT_LIMIT: Duration = Duration::from_mins(5);

/// Where to connect to; what is not given is the environment's and the profile's.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The profile: its credentials and its region count, whatever the environment has.
    pub profile: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The region if neither `region` nor the environment nor the profile names one; the machine's
    /// own comes after it.
    pub default_region: Option<String>,
    /// The account that the credentials must be of.
    pub account: Option<String>,
    /// Another server than AWS's own.
    pub endpoint_url: Option<String>,
    /// A file with the authorities to trust, and no others.
    pub authorities: Option<PathBuf>,
    /// Asks the user for a code of the MFA device that is named, where there is a user.
    pub ask: Option<fn(&str) -> Option<String>>,
    /// The signals that stop a run, by their numbers in `signal(7)`.
    pub interrupts: Vec<i32>,
}

/// How long one try to send a block may take. One that is never answered must not hold the end of an
/// upload.
const BLOCK_LIMIT: Duration = Duration::from_secs(30);

/// The clients of one region.
#[derive(Debug, Clone)]
pub struct Aws {
    /// The region.
    pub region: String,
    /// The account.
    pub account: String,
    /// Whose the credentials are.
    pub arn: String,
    pub(super) ec2: aws_sdk_ec2::Client,
    pub(super) ebs: aws_sdk_ebs::Client,
    pub(super) s3: aws_sdk_s3::Client,
    pub(super) ssm: aws_sdk_ssm::Client,
    pub(super) config: SdkConfig,
    /// For services whose SDKs are not here.
    pub(super) connector: SharedHttpConnector,
    /// See [`Settings::interrupts`].
    pub(super) interrupts: Vec<i32>,
}

/// What runs the calls of the SDK: two threads, for encryption on the way and hashing.
pub fn runtime() -> Result<Runtime> {
    let built = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    built.map_err(|error| Error::Network {
        doing: "start the network's threads".to_owned(),
        message: error.to_string(),
    })
}

impl Aws {
    /// Finds credentials and a region, and asks who we are.
    pub async fn connect(settings: &Settings, report: &dyn Report) -> Result<Self> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(10))
            .operation_attempt_timeout(ATTEMPT_LIMIT)
            .build();
        let transport = Transport::new(settings.authorities.as_deref())?;
        let http = transport.client();
        let environment = ProviderConfig::without_region().with_http_client(http.clone());
        let region = region(settings, &environment)
            .await
            .ok_or(Error::NoRegion)?;
        // How often the SDK itself tries is AWS_MAX_ATTEMPTS' and AWS_RETRY_MODE's to say.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts)
            .region(region.clone());
        let environment = environment.with_region(Some(region));
        if let Some(profile) = &settings.profile {
            // The chain of providers would ask the environment first.
            let provider = ProfileFileCredentialsProvider::builder()
                .configure(&environment)
                .profile_name(profile)
                .build();
            loader = loader.profile_name(profile).credentials_provider(provider);
        }
        if let Some(url) = &settings.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let mut config = loader.load().await;
        warn_of_plain_endpoints(&config, report);
        let special = profile::credentials(settings, &environment, &config).await?;
        if let Some(credentials) = special.or_else(|| config.credentials_provider()) {
            let kept = SharedCredentialsProvider::new(Kept::new(credentials));
            config = config.to_builder().credentials_provider(kept).build();
        }
        let sts = aws_sdk_sts::Client::new(&config);
        let identity = sts.get_caller_identity().send().await;
        let identity = identity.map_err(failed("find out whose credentials these are"))?;
        let account = identity.account().unwrap_or_default().to_owned();
        let arn = identity.arn().unwrap_or_default().to_owned();
        if let Some(wanted) = settings
            .account
            .as_ref()
            .filter(|wanted| **wanted != account)
        {
            return Err(Error::Account {
                wanted: wanted.clone(),
                found: account,
                arn,
            });
        }
        let interrupts = settings.interrupts.clone();
        let connector = transport.connector();
        Ok(Self::with(config, account, arn, connector, interrupts))
    }

    /// The clients of another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.config.to_builder();
        let config = config.region(Region::new(region.to_owned())).build();
        let (account, arn) = (self.account.clone(), self.arn.clone());
        let interrupts = self.interrupts.clone();
        Self::with(config, account, arn, self.connector.clone(), interrupts)
    }

    fn with(
        config: SdkConfig,
        account: String,
        arn: String,
        connector: SharedHttpConnector,
        interrupts: Vec<i32>,
    ) -> Self {
        // Other servers than S3 seldom know buckets by host names.
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(config.endpoint_url().is_some())
            .build();
        // Blocks are repeated by who sends them, at a pace that all of them share.
        let ebs = aws_sdk_ebs::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(10))
                    .operation_attempt_timeout(BLOCK_LIMIT)
                    .build(),
            )
            .build();
        Self {
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            account,
            arn,
            ec2: aws_sdk_ec2::Client::new(&config),
            ebs: aws_sdk_ebs::Client::from_conf(ebs),
            s3: aws_sdk_s3::Client::from_conf(s3),
            ssm: aws_sdk_ssm::Client::new(&config),
            config,
            connector,
            interrupts,
        }
    }
}

/// The region: that of the settings; the profile's, if one is named there; the environment's; that of
/// the environment's profile; the default; the machine's own.
async fn region(settings: &Settings, environment: &ProviderConfig) -> Option<Region> {
    let given = settings.region.clone().map(Region::new);
    let named = settings.profile.as_ref().map(|name| {
        ProfileFileRegionProvider::builder()
            .configure(environment)
            .profile_name(name)
            .build()
    });
    let named = match named {
        Some(provider) => provider.region().await,
        None => None,
    };
    let chain = RegionProviderChain::first_try(given)
        .or_else(named)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(settings.default_region.clone().map(Region::new));
    if let Some(region) = chain.region().await {
        return Some(region);
    }
    let machine = ImdsRegionProvider::builder().configure(environment).build();
    machine.region().await
}

/// The services that are asked, as their endpoints are configured.
const SERVICES: [&str; 5] = ["EBS", "EC2", "S3", "SSM", "STS"];

/// Warns of servers to which requests, disks among them, go without encryption: whoever is in between
/// reads them, and changes the answers.
fn warn_of_plain_endpoints(config: &SdkConfig, report: &dyn Report) {
    let of_service = |service: &&str| {
        let key = ServiceConfigKey::builder()
            .service_id(service)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        config.service_config()?.load_config(key.ok()?)
    };
    let mut all: Vec<String> = SERVICES.iter().filter_map(of_service).collect();
    all.extend(config.endpoint_url().map(ToOwned::to_owned));
    all.sort();
    all.dedup();
    for url in all.iter().filter(|url| is_plain(url)) {
        report.warning(&format!(
            "requests go to {url} without encryption: whoever is in between can read and change \
             them; name it as https://"
        ));
    }
}

/// Whether what is sent to a server leaves this machine without encryption.
fn is_plain(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let is_loopback = name.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback());
    !(name == "localhost" || is_loopback || host.starts_with("[::1]"))
}

/// What a failed call comes to, in words for a person: `doing` says what was tried.
pub(super) fn failed<E, R>(doing: impl Into<String>) -> impl FnOnce(SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let doing = doing.into();
    move |error| match &error {
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            let code = meta.code().map(ToOwned::to_owned);
            let said = meta.message().map(ToOwned::to_owned);
            let message = said.unwrap_or_else(|| chain(service.err()));
            Error::Service {
                doing,
                code,
                message,
            }
        }
        // What cannot be sent will not be able to be the next time.
        SdkError::ConstructionFailure(_) => Error::Answer {
            what: format!("cannot {doing}"),
            problem: chain(&error),
        },
        other => {
            let message = chain(other);
            // The SDK tells this kind by its words alone.
            if message.contains("credential") || message.contains("profile") {
                Error::Credentials { message }
            } else {
                Error::Network { doing, message }
            }
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn what_leaves_the_machine_without_encryption() {
        for (url, plain) in [
            ("http://aws.example.com", true),
            ("HTTP://10.0.0.1:9000/path", true),
            ("http://user@localhost.example.com", true),
            ("http://localhost@example.com", true),
            ("http://127.0.0.1.example.com", true),
            ("https://aws.example.com", false),
            ("http://127.0.0.1:5000", false),
            ("http://localhost:5000/", false),
            ("http://[::1]:5000", false),
        ] {
            assert_eq!(is_plain(url), plain, "{url}");
        }
    }
}
