//! How to reach AWS, as the commands that do are told it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use super::failure::Failure;
use super::output::Output;
use super::progress::Bars;
use crate::environment::Environment;
use imgasm_aws::Report;
use imgasm_aws::sdk::Settings;
use imgasm_aws::wish::Ami;

/// How to reach AWS; what is not given is the environment's and the profile's.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConnectionArgs {
    /// The profile of the credentials and the region, whatever the environment has; else that of
    /// `AWS_PROFILE`.
    #[arg(long)]
    pub(super) profile: Option<String>,
    /// The region; else that of `AWS_REGION`, of the profile, or of the recipe.
    #[arg(long)]
    pub(super) region: Option<String>,
    /// Another server than AWS's own.
    #[arg(long, value_name = "URL")]
    pub(super) endpoint_url: Option<String>,
}

impl ConnectionArgs {
    /// Where to connect to, and how; `default_region` if nothing else names a region, and the account
    /// that it must be.
    pub(super) fn settings(
        &self,
        environment: &Environment,
        default_region: Option<String>,
        account: Option<String>,
    ) -> Settings {
        Settings {
            profile: self.profile.clone(),
            region: self.region.clone(),
            default_region,
            account,
            endpoint_url: self.endpoint_url.clone(),
            authorities: environment.aws_authorities.clone(),
            ask: Some(ask_for_code),
            interrupts: super::interrupt::heeded(),
        }
    }

    /// The region as far as it is known without looking at the profile.
    pub(super) fn region_before_connecting(
        &self,
        ami: &Ami,
        environment: &Environment,
    ) -> Option<String> {
        self.region
            .clone()
            .or_else(|| environment.aws_region.clone())
            .or_else(|| ami.region.as_ref().map(ToString::to_string))
    }
}

/// Asks for a code of an MFA device, where someone sits at a terminal.
fn ask_for_code(device: &str) -> Option<String> {
    Output::new().ask(format_args!("code of {device}"))
}

/// What went wrong, with what to do about it.
pub(super) fn explained(error: imgasm_aws::Error) -> Failure {
    let hint = error.hint();
    Failure::advised(error, hint)
}

/// Shows on stderr what a run tells, as it happens. If there are others beside it, each line says whose
/// it is.
pub(super) struct Console {
    output: Mutex<Output>,
    bars: Bars,
}

impl Console {
    pub(super) fn shared() -> Arc<Self> {
        Self::with(Bars::new())
    }

    /// One that shows its progress by these bars.
    pub(super) fn with(bars: Bars) -> Arc<Self> {
        Arc::new(Self {
            output: Mutex::new(Output::new()),
            bars,
        })
    }

    /// Text as it is told of this run.
    fn of_this<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bars.name() {
            Some(name) => Cow::Owned(format!("{name}: {text}")),
            None => Cow::Borrowed(text),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bars.finish();
    }

    fn tell(&self, tell: impl FnOnce(&mut Output)) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        self.bars.aside(|| tell(&mut output));
    }
}

impl Report for Console {
    fn note(&self, verb: &str, what: &str) {
        let what = self.of_this(what);
        self.tell(|output| output.note(verb, what));
    }

    fn warning(&self, text: &str) {
        let text = self.of_this(text);
        self.tell(|output| output.warning(text));
    }

    fn progress(&self, what: &str, done: u64, all: u64) {
        self.bars.show(what, done, all);
    }

    fn waiting(&self, what: &str, percent: u64) {
        self.bars.waiting(what, percent);
    }
}
