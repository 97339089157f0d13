//! Certificates (X.509) as they lie in files, and what the tools take from them: a label, what they
//! are good for, and OpenSSL's hashes of whom they are for.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use sha1::Sha1;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, ObjectIdentifier, SetOfVec};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_cert::name::Name;
use x509_cert::{Certificate as X509, Version};

use imgasm_fs::Timestamp;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// What an authority may be trusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    ServerAuth,
    EmailProtection,
    CodeSigning,
}

impl Purpose {
    fn usage(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::ServerAuth => "1.3.6.1.5.5.7.3.1",
            Self::CodeSigning => "1.3.6.1.5.5.7.3.3",
            Self::EmailProtection => "1.3.6.1.5.5.7.3.4",
        })
    }
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    x509: X509,
}

impl Certificate {
    /// The certificates in a file: any number in PEM, with any text between them, or one in DER.
    ///
    /// # Errors
    /// In words, if there are none, one of them is damaged, or the file also has a key.
    pub fn all(content: &[u8]) -> Result<Vec<Self>, String> {
        if content.first() == Some(&0x30) {
            return Ok(vec![Self::from_der(content.to_vec())?]);
        }
        let text = String::from_utf8_lossy(content);
        let mut all = Vec::new();
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            let Some(kind) = label_of(line, "BEGIN") else {
                continue;
            };
            if kind.ends_with("PRIVATE KEY") {
                return Err("has a private key, which does not belong into an image".to_owned());
            }
            if kind != "CERTIFICATE" {
                return Err(format!("has a {kind:?}, which is no certificate"));
            }
            let number = all.len() + 1;
            let mut body = String::new();
            loop {
                match lines.next() {
                    Some(line) if label_of(line, "END") == Some(kind) => break,
                    Some(line) => body.push_str(line),
                    None => return Err(format!("ends within certificate {number}")),
                }
            }
            let der = BASE64_STANDARD.decode(body);
            let der = der.map_err(|error| format!("certificate {number}: {error}"))?;
            let one = Self::from_der(der);
            all.push(one.map_err(|problem| format!("certificate {number}: {problem}"))?);
        }
        if all.is_empty() {
            return Err("holds no certificate: neither PEM nor DER".to_owned());
        }
        Ok(all)
    }

    fn from_der(der: Vec<u8>) -> Result<Self, String> {
        let x509 = X509::from_der(&der).map_err(|error| format!("is no certificate: {error}"))?;
        Ok(Self { der, x509 })
    }

    /// Its bytes.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its bytes as text, in lines of 64 columns.
    pub(super) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// As [`Certificate::pem`], with the label that OpenSSL keeps beside a certificate.
    pub(super) fn trusted_pem(&self) -> String {
        let alias = self.label().unwrap_or_default();
        // `X509_CERT_AUX` with no more than an alias.
        let alias = match alias.as_str() {
            "" => Vec::new(),
            alias => der_of(0x0c, alias.as_bytes()),
        };
        let aux = der_of(0x30, &alias);
        pem("TRUSTED CERTIFICATE", &[self.der.as_slice(), &aux].concat())
    }

    /// Whom it is for, for messages.
    pub(super) fn subject(&self) -> String {
        self.x509.tbs_certificate.subject.to_string()
    }

    /// What tools call it: the first common name of its subject, or else the unit or organisation.
    pub(super) fn label(&self) -> Option<String> {
        let parts = || {
            let names = &self.x509.tbs_certificate.subject.0;
            names.iter().flat_map(|name| name.0.iter())
        };
        [COMMON_NAME, UNIT, ORGANIZATION]
            .into_iter()
            .find_map(|kind| parts().find(|part| part.oid == kind))
            .and_then(|part| text(&part.value))
    }

    /// Whether it may be trusted for a purpose: for any, unless it lists some.
    pub(super) fn serves(&self, purpose: Purpose) -> bool {
        let usages = self.x509.tbs_certificate.get::<ExtendedKeyUsage>();
        match usages {
            Ok(Some((_, ExtendedKeyUsage(usages)))) => {
                usages.contains(&ANY_USAGE) || usages.contains(&purpose.usage())
            }
            _ => true,
        }
    }

    /// Makes sure that trusting it has an effect.
    ///
    /// # Errors
    /// Why it has none, as the end of a sentence.
    pub(super) fn check_authority(&self, now: Timestamp) -> Result<(), String> {
        let certificate = &self.x509.tbs_certificate;
        let damaged = |error| format!("has a damaged extension: {error}");
        let constraints = certificate.get::<BasicConstraints>();
        let is_authority = match constraints.map_err(damaged)? {
            Some((_, constraints)) => constraints.ca,
            None => certificate.version == Version::V1 && certificate.issuer == certificate.subject,
        };
        if !is_authority {
            return Err("is not that of an authority (CA:TRUE)".to_owned());
        }
        let usage = certificate.get::<KeyUsage>().map_err(damaged)?;
        if usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
            return Err("may not sign others: its key usage says so".to_owned());
        }
        certificate.get::<ExtendedKeyUsage>().map_err(damaged)?;
        let end = certificate.validity.not_after;
        let now = u64::try_from(now.seconds).unwrap_or_default();
        if end.to_unix_duration().as_secs() < now {
            return Err(format!("has expired: it was valid until {end}"));
        }
        if self
            .label()
            .is_some_and(|label| label.contains(char::is_control))
        {
            return Err("has a name with control characters".to_owned());
        }
        Ok(())
    }

    /// The name under which OpenSSL looks for it in a folder, without the number behind the dot.
    pub(super) fn hash(&self) -> String {
        let canonical = canonical(&self.x509.tbs_certificate.subject);
        of_first_bytes(&Sha1::digest(canonical))
    }

    /// The same for OpenSSL before 1.0.
    pub(super) fn old_hash(&self) -> String {
        let subject = self.x509.tbs_certificate.subject.to_der();
        of_first_bytes(&Md5::digest(subject.unwrap_or_default()))
    }
}

/// `CERTIFICATE`, in a line `-----BEGIN CERTIFICATE-----`.
fn label_of<'l>(line: &'l str, edge: &str) -> Option<&'l str> {
    let line = line.strip_prefix("-----")?.strip_suffix("-----")?;
    line.strip_prefix(edge)?.strip_prefix(' ')
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text + &format!("-----END {label}-----\n")
}

/// A value with its tag and length.
fn der_of(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    if let Ok(short @ 0..128) = u8::try_from(value.len()) {
        der.push(short);
    } else {
        let len = value.len().to_be_bytes();
        let zeros = len.iter().take_while(|byte| **byte == 0).count();
        let len = &len[zeros..];
        // A length has eight bytes at most.
        der.push(0x80 | u8::try_from(len.len()).unwrap_or_default());
        der.extend_from_slice(len);
    }
    der.extend_from_slice(value);
    der
}

/// The first four bytes as a number in the order of x86.
fn of_first_bytes(digest: &[u8]) -> String {
    let first = digest.first_chunk().copied().unwrap_or_default();
    format!("{:08x}", u32::from_le_bytes(first))
}

/// The text of a string in a name; `None` for other values.
fn text(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::VisibleString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        // Latin-1, whatever the standard says.
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = bytes.chunks(2).map(|unit| match *unit {
                [high, low] => u16::from_be_bytes([high, low]),
                _ => 0,
            });
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// A name as OpenSSL compares it (`x509_name_canon`): text in UTF-8 and small letters, with single
/// blanks between words; one set after the other, with nothing around them.
fn canonical(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in &name.0 {
        let parts = part.0.iter().map(|part| {
            let value = text(&part.value).map(|text| {
                let is_blank = |c: char| matches!(c, ' ' | '\t'..='\r');
                let words = text.split(is_blank).filter(|word| !word.is_empty());
                let text = words.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
                Any::new(Tag::Utf8String, text.into_bytes())
            });
            AttributeTypeAndValue {
                oid: part.oid,
                value: match value {
                    Some(Ok(value)) => value,
                    _ => part.value.clone(),
                },
            }
        });
        let set = SetOfVec::try_from(parts.collect::<Vec<_>>());
        // What was decoded can be encoded.
        bytes.extend(set.and_then(|set| set.to_der()).unwrap_or_default());
    }
    bytes
}
