//! Who names an AMI, as far as it can be seen: launch templates and parameters.
//!
//! Deregistering an AMI breaks them without a word. That they can be seen is good to know and no more:
//! a question that is refused is left out.

use std::fmt::Display;

use aws_sdk_ec2::types::{Filter, LaunchTemplateVersion};
use aws_sdk_ssm::types::ParameterStringFilter;
use tracing::debug;

use super::connect::Aws;

/// How many parameters may be asked for at once (Systems Manager API reference, `GetParameters`).
const PARAMETERS_AT_ONCE: usize = 10;

/// The launch templates and the parameters that name an AMI, in words, but for the parameter that will
/// name its successor.
pub(super) async fn users(aws: &Aws, image_id: &str, own: Option<&str>) -> Vec<String> {
    let mut all = templates(aws, image_id).await;
    let names = parameters(aws, image_id).await.into_iter();
    let others = names.filter(|name| Some(name.as_str()) != own);
    all.extend(others.map(|name| format!("the parameter {name}")));
    all
}

/// The launch templates whose default or latest version names it.
async fn templates(aws: &Aws, image_id: &str) -> Vec<String> {
    let image = Filter::builder().name("image-id").values(image_id).build();
    let mut pages = aws
        .ec2
        .describe_launch_template_versions()
        .versions("$Default")
        .versions("$Latest")
        .filters(image)
        .into_paginator()
        .send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        let Some(page) = seen("launch templates", page) else {
            break;
        };
        all.extend(page.launch_template_versions().iter().map(template));
    }
    all.sort();
    all.dedup();
    all
}

fn template(version: &LaunchTemplateVersion) -> String {
    let name = version.launch_template_name().unwrap_or_default();
    let number = version.version_number().unwrap_or_default();
    format!("version {number} of the launch template {name}")
}

/// The names of the parameters that are its id.
async fn parameters(aws: &Aws, image_id: &str) -> Vec<String> {
    let filter = ParameterStringFilter::builder()
        .key("DataType")
        .option("Equals")
        .values("aws:ec2:image")
        .build();
    let Some(filter) = seen("parameters", filter) else {
        return Vec::new();
    };
    let mut pages = aws
        .ssm
        .describe_parameters()
        .parameter_filters(filter)
        .into_paginator()
        .send();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        let Some(page) = seen("parameters", page) else {
            break;
        };
        let named = page.parameters().iter().filter_map(|it| it.name());
        names.extend(named.map(ToOwned::to_owned));
    }
    let mut all = Vec::new();
    for names in names.chunks(PARAMETERS_AT_ONCE) {
        let call = aws.ssm.get_parameters().set_names(Some(names.to_vec()));
        let Some(got) = seen("parameters", call.send().await) else {
            break;
        };
        let same = got.parameters().iter();
        let same = same.filter(|parameter| parameter.value() == Some(image_id));
        let same = same.filter_map(|parameter| parameter.name());
        all.extend(same.map(ToOwned::to_owned));
    }
    all.sort();
    all
}

/// What came of a question, unless it failed.
fn seen<T, E: Display>(what: &str, asked: Result<T, E>) -> Option<T> {
    asked
        .inspect_err(|error| debug!("which {what} name an AMI cannot be seen: {error}"))
        .ok()
}
