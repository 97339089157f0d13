//! Groups of packages.

use std::io::BufRead;

use super::xml::{self, Attributes, Visitor};

/// A group of packages, or one of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// What it is called by.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What is installed with it: names of packages.
    pub packages: Vec<String>,
    /// What is installed with it if another package is there: that one, and the name.
    pub conditional: Vec<(String, String)>,
    /// The groups that are installed with it.
    pub groups: Vec<String>,
}

/// Reads the groups of a repository.
///
/// # Errors
/// What is wrong with the file.
pub fn read(reader: impl BufRead) -> Result<Vec<Group>, String> {
    let mut comps = Comps::default();
    xml::read(reader, "comps", &mut comps)?;
    Ok(comps.groups)
}

#[derive(Default)]
struct Comps {
    groups: Vec<Group>,
    group: Option<Group>,
    in_list: bool,
    in_options: bool,
    kind: String,
    requires: Option<String>,
    is_translated: bool,
}

impl Visitor for Comps {
    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        match name {
            "group" | "environment" => self.group = Some(Group::default()),
            "packagelist" | "grouplist" => self.in_list = true,
            "optionlist" => self.in_options = true,
            "packagereq" => {
                self.kind = attributes.get("type")?.unwrap_or_default().into_owned();
                self.requires = attributes
                    .get("requires")?
                    .map(std::borrow::Cow::into_owned);
            }
            "name" => self.is_translated = attributes.get("lang")?.is_some(),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str, text: &str) -> Result<(), String> {
        let text = text.trim();
        let (in_list, in_options) = (self.in_list, self.in_options);
        match name {
            "packagelist" | "grouplist" => self.in_list = false,
            "optionlist" => self.in_options = false,
            _ => {}
        }
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        match name {
            "id" => text.clone_into(&mut group.id),
            "name" if !self.is_translated => text.clone_into(&mut group.name),
            "groupid" if in_list && !in_options => group.groups.push(text.to_owned()),
            "packagereq" => match (self.kind.as_str(), self.requires.take()) {
                ("conditional", Some(needed)) => group.conditional.push((needed, text.to_owned())),
                ("optional" | "conditional", _) => {}
                _ => group.packages.push(text.to_owned()),
            },
            "group" | "environment" => self.groups.extend(self.group.take()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_environments() {
        let text = "<comps><group><id>tools</id><name>Tools</name><name xml:lang='de'>Werkzeug</name>\
                    <packagelist><packagereq type='mandatory'>a</packagereq>\
                    <packagereq type='default'>b</packagereq>\
                    <packagereq type='optional'>c</packagereq>\
                    <packagereq type='conditional' requires='x'>d</packagereq></packagelist></group>\
                    <environment><id>server</id><name>Server</name><grouplist><groupid>tools</groupid>\
                    </grouplist><optionlist><groupid>more</groupid></optionlist></environment></comps>";
        let groups = read(text.as_bytes()).unwrap();
        assert_eq!(groups[0].name, "Tools");
        assert_eq!(groups[0].packages, ["a", "b"]);
        assert_eq!(groups[0].conditional, [("x".to_owned(), "d".to_owned())]);
        assert_eq!(groups[1].groups, ["tools"]);
    }
}
