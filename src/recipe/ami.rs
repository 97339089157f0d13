//! The key `ami`, whose texts also see what is known of an image.

use super::AmiFacts;
use crate::config::decode::Value;
use crate::config::{self, Epoch, Setting, Source, Variables, template};
use imgasm_aws::wish::Ami;
use imgasm_block::Digest;

/// Reads the value of the key `ami`.
pub(super) fn read(
    source: &Source,
    value: Value<'_>,
    variables: &Variables,
    facts: &AmiFacts,
) -> config::Result<Ami> {
    let span = value.span();
    let day = jiff::Timestamp::from_second(facts.now).map_or_else(
        |_| facts.now.to_string(),
        |time| time.strftime("%Y-%m-%d").to_string(),
    );
    let mut known = vec![
        ("timestamp", Setting::Integer(facts.now)),
        ("date", Setting::Text(day)),
        ("digest", Setting::Text(facts.digest.to_string())),
    ];
    if let Some((id, name)) = &facts.source {
        known.push(("source_ami", Setting::Text(id.clone())));
        known.push(("source_ami_name", Setting::Text(name.clone())));
    }
    let mut all = variables.clone();
    for (name, value) in known {
        // The recipe's own variables take precedence.
        if all.get(name).is_none() {
            all.set(name, value);
        }
    }
    let ami: Ami = template::read(source, value, &all)?;
    ami.check().map_err(|problem| source.error(span, problem))?;
    Ok(ami)
}

/// Sample facts, in the form that those of an image have.
pub(super) fn sample_facts() -> AmiFacts {
    AmiFacts {
        now: Epoch::DEFAULT.seconds(),
        digest: Digest::of(b""),
        source: Some(("ami-0".to_owned(), "name".to_owned())),
    }
}
