//! What keys mean, from the tables of the manual.

use super::Schema;

/// A page of the manual.
#[derive(Debug, Clone, Copy)]
pub struct Manual(&'static str);

impl Manual {
    /// The page about recipes.
    pub const RECIPE: Self = Self(include_str!("../../docs/recipe.md"));
    /// The page about overlays.
    pub const OVERLAYS: Self = Self(include_str!("../../docs/overlays.md"));
    /// The page about packages.
    pub const PACKAGES: Self = Self(include_str!("../../docs/packages.md"));
    /// The page about starting an image.
    pub const BOOT: Self = Self(include_str!("../../docs/boot.md"));

    /// The rows of the first table from the line on that begins so: the names in the first column, and
    /// the last column.
    fn rows(self, start: &str) -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
        let below = self
            .0
            .lines()
            .skip_while(move |line| !line.starts_with(start));
        let table = below
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            // The titles of the columns, and the line below them.
            .skip(2);
        table.filter_map(|line| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let first = cells.next()?;
            let names = first.split('`').skip(1).step_by(2);
            let names = names.map(|name| name.trim_matches(['[', ']']));
            Some((names.collect(), cells.last()?))
        })
    }
}

/// Tells the keys of the table at a path what the manual says of them in the table that
/// is at this line or below it.
pub fn explain(schema: &mut Schema, path: &[&str], manual: Manual, start: &str) {
    let Some(schema) = schema.at(path) else {
        return;
    };
    for (names, meaning) in manual.rows(start) {
        for name in names {
            if let Some(key) = schema.key(name)
                && !meaning.is_empty()
            {
                key.meaning = Some(meaning.to_owned());
            }
        }
    }
}
