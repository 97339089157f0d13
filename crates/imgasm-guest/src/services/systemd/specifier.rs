//! The specifiers (`%i`, `%n`, …) in an `[Install]` section.
//!
//! Meanings: systemd.unit(5), "Specifiers". Those whose value only the running machine knows (its
//! host name, its kernel, …) have no value in an image.

use super::name::{NameKind, UnitName};

/// A specifier that has no value here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSpecifier(pub String);

/// `text` with its specifiers replaced by what they stand for in the unit `name`.
pub fn expand(text: &str, name: &UnitName) -> Result<String, UnknownSpecifier> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            expanded.push(character);
            continue;
        }
        match rest.next() {
            Some('%') => expanded.push('%'),
            Some('i') => expanded.push_str(match name.kind() {
                NameKind::Instance(instance) => instance,
                NameKind::Plain | NameKind::Template => "",
            }),
            Some('j') => expanded.push_str(last_component(name.prefix())),
            Some('n') => expanded.push_str(name.as_str()),
            Some('N') => expanded.push_str(name.stem()),
            Some('p') => expanded.push_str(name.prefix()),
            // The system's manager runs as root.
            Some('u' | 'g') => expanded.push_str("root"),
            Some('U' | 'G') => expanded.push('0'),
            Some(other) => return Err(UnknownSpecifier(format!("%{other}"))),
            None => return Err(UnknownSpecifier("%".to_owned())),
        }
    }
    Ok(expanded)
}

/// What follows the last `-` of a prefix, or all of it.
fn last_component(prefix: &str) -> &str {
    prefix.rsplit_once('-').map_or(prefix, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_specifier_has_its_part_of_the_name() {
        let name = UnitName::new("a-b@c.service").unwrap();
        assert_eq!(
            expand("%i %j %n %N %p 100%% %U", &name).unwrap(),
            "c b a-b@c.service a-b@c a-b 100% 0"
        );
    }

    #[test]
    fn what_only_a_running_machine_knows_is_an_error() {
        let name = UnitName::new("a.service").unwrap();
        assert_eq!(expand("%H", &name), Err(UnknownSpecifier("%H".to_owned())));
        assert_eq!(expand("a%", &name), Err(UnknownSpecifier("%".to_owned())));
    }
}
