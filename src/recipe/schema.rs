//! What a recipe takes, for editors.

use super::load::RawRecipe;
use super::packages::{PackageWishes, Repository};
use crate::config::variables;
use crate::overlay;
use crate::schema::{Manual, Schema, ask, explain};
use crate::verify::live;
use imgasm_aws::wish::Ami;

/// Which table of the manual is about the keys at a path.
const TABLES: [(&[&str], Manual, &str); 11] = [
    (&[], Manual::RECIPE, "# The recipe"),
    (&["base"], Manual::RECIPE, "## `base`"),
    (&["disk", "partition"], Manual::RECIPE, "## `[disk]`"),
    (&["variables", "*"], Manual::RECIPE, "## Variables"),
    (&["volume"], Manual::RECIPE, "## `[[volume]]`"),
    (&["expect"], Manual::RECIPE, "## `[[expect]]`"),
    (&["expect", "live"], Manual::BOOT, "| keys |"),
    (&["ami"], Manual::RECIPE, "## `[ami]`"),
    (&["packages"], Manual::PACKAGES, "| `[packages]` |"),
    (&["repository"], Manual::PACKAGES, "| `[[repository]]` |"),
    (&["package"], Manual::PACKAGES, "## By file"),
];

/// What a recipe takes.
pub fn schema() -> Schema {
    let mut recipe = ask::<RawRecipe>();
    recipe.insert("variables", variables::schema());
    recipe.insert("ami", ask::<Ami>());
    recipe.insert("repository", Schema::of_list(ask::<Repository>()));
    let mut wishes = ask::<PackageWishes>();
    let scripts = Schema::of_names(Schema::of_list(overlay::schema::step()));
    wishes.insert("override", Schema::of_names(scripts));
    recipe.insert("packages", wishes);
    live::add_to(&mut recipe);

    for (path, manual, start) in TABLES {
        explain(&mut recipe, path, manual, start);
    }

    // An image is laid over the recipe, and so is a recipe over the one that it extends: what one of
    // them lacks, the other may have.
    let mut image = recipe.clone();
    image.insert("without_overlays", Schema::of_list(Schema::of_text()));
    if let (Some(image), Some(recipe)) = (&mut image.table, &mut recipe.table) {
        image.required = vec!["name".to_owned()];
        recipe.required.clear();
    }
    recipe.insert("image", Schema::of_list(image));
    recipe.insert("extends", Schema::of_text());
    explain(&mut recipe, &[], Manual::RECIPE, "# The recipe");
    recipe
}
