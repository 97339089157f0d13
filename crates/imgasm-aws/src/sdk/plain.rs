//! Requests of services that are asked for one thing each: their SDKs would take minutes to compile.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use tokio::time::timeout;

use super::connect::Aws;
use crate::policy::partition;

/// How long an answer may take. What is asked here is good to know, and no more.
const LIMIT: Duration = Duration::from_secs(10);

/// The most of an answer that is read.
const ANSWER_LIMIT: u64 = 1 << 20;

/// An answer, whether it is one that was hoped for or not.
pub(super) struct Answer {
    /// The status of HTTP.
    pub(super) status: u16,
    /// The text.
    pub(super) text: String,
}

impl Answer {
    /// Whether the service did what it was asked for.
    pub(super) fn is_success(&self) -> bool {
        self.status == 200
    }

    /// What stands in an element of XML, the first of its name, without elements in it.
    pub(super) fn element(&self, name: &str) -> Option<&str> {
        self.elements(name).next()
    }

    /// The same of all elements of the name, in their order.
    pub(super) fn elements(&self, name: &str) -> impl Iterator<Item = &str> {
        let mark = format!("<{name}>");
        let places = self.text.match_indices(&mark);
        let inside = places.filter_map(|(at, mark)| {
            let (inside, _) = self.text[at + mark.len()..].split_once('<')?;
            Some(inside.trim())
        });
        inside.collect::<Vec<_>>().into_iter()
    }
}

/// Asks IAM, which has one place in each partition.
pub(super) async fn iam(aws: &Aws, form: &[(&str, &str)]) -> Option<Answer> {
    let (host, region) = match partition(Some(&aws.region)) {
        "aws" => ("iam.amazonaws.com", "us-east-1"),
        "aws-cn" => ("iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        "aws-us-gov" => ("iam.us-gov.amazonaws.com", "us-gov-west-1"),
        _ => return None,
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .extend_pairs(form)
        .append_pair("Version", "2010-05-08");
    let content_type = ("content-type", "application/x-www-form-urlencoded");
    ask(aws, ("iam", region), host, &[content_type], query.finish()).await
}

/// Asks KMS in the region of `aws`.
pub(super) async fn kms(aws: &Aws, operation: &str, body: String) -> Option<Answer> {
    let suffix = match partition(Some(&aws.region)) {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return None,
    };
    let host = format!("kms.{}.{suffix}", aws.region);
    let target = format!("TrentService.{operation}");
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", &*target),
    ];
    ask(aws, ("kms", &aws.region), &host, &headers, body).await
}

/// Sends a signed POST; `None` if no answer came.
async fn ask(
    aws: &Aws,
    (service, region): (&str, &str),
    host: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Option<Answer> {
    let url = match aws.config.endpoint_url() {
        Some(url) => format!("{}/", url.trim_end_matches('/')),
        None => format!("https://{host}/"),
    };
    let credentials = aws.config.credentials_provider()?;
    let identity = credentials.provide_credentials().await.ok()?.into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let signable = SignableRequest::new(
        "POST",
        &url,
        headers.iter().copied(),
        SignableBody::Bytes(body.as_bytes()),
    );
    let (instructions, _) = sign(signable.ok()?, &parameters).ok()?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(body.clone()));
    request.set_method("POST").ok()?;
    request.set_uri(url).ok()?;
    for (name, value) in headers.iter().copied().chain(instructions.headers()) {
        let (name, value) = (name.to_owned(), value.to_owned());
        request.headers_mut().try_insert(name, value).ok()?;
    }
    let answered = timeout(LIMIT, async {
        let mut answer = aws.connector.call(request).await.ok()?;
        let status = answer.status().as_u16();
        let mut body = ByteStream::new(answer.take_body());
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.ok()?);
            if u64::try_from(bytes.len()).ok()? > ANSWER_LIMIT {
                return None;
            }
        }
        let text = String::from_utf8(bytes).ok()?;
        Some(Answer { status, text })
    });
    answered.await.ok()?
}
