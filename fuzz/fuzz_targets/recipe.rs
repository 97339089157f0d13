//! Any text as a recipe.
#![no_main]

use std::path::Path;

use imgasm::config::Source;
use imgasm::recipe::{Options, Recipe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = Source::new("imgasm.toml", text);
    if let Err(error) = Recipe::from_source(source, Path::new("/nonexistent"), &Options::default())
    {
        let _ = error.to_string();
    }
});
