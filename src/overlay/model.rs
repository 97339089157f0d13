//! An overlay as it is read from its folder.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use super::files::{self, FileRules};
use super::steps::package::Packages;
use super::steps::{self, Action};
use super::when::When;
use crate::config::decode::{self, Rendered, Table, Value};
use crate::config::digest::Contents;
use crate::config::readings::Readings;
use crate::config::{self, Boundary, Declarations, Diagnostic, Given, Source, Variables, template};
use crate::verify::expect::Expectation;
use crate::verify::live::{self, Live};
use imgasm_fs::text::chain;
use imgasm_fs::{FileSystem, tree};
use imgasm_guest::Facts;

/// The file that makes a folder an overlay.
const FILE_NAME: &str = "overlay.toml";

/// An overlay whose variables are declared but have no values yet.
#[derive(Debug, Clone)]
pub struct OverlayFile {
    name: String,
    folder: PathBuf,
    source: Source,
    declarations: Declarations,
    readings: Arc<Readings>,
}

/// An overlay that can be applied.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// What messages and reports call it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The values of its variables.
    pub variables: Variables,
    /// What is expected of an image that it was applied to, in order.
    pub expectations: Vec<Expectation>,
    /// What is expected of the running machine, in order.
    pub live: Vec<Live>,
    pub(super) folder: PathBuf,
    pub(super) readings: Arc<Readings>,
    pub(super) source: Source,
    pub(super) files: FileRules,
    pub(super) steps: Vec<Step>,
}

/// One step, with its guard and its place in the file.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) when: Option<When>,
    pub(super) action: Action,
    pub(super) span: Range<usize>,
}

impl Step {
    /// Whether its guard holds, if it has one.
    pub(super) fn is_due(
        &self,
        facts: &Facts,
        fs: &dyn FileSystem,
        variables: &Variables,
    ) -> tree::Result<bool> {
        let when = self.when.as_ref();
        when.map_or(Ok(true), |when| when.holds(facts, fs, variables))
    }
}

impl OverlayFile {
    /// Reads `overlay.toml` in `folder`; `name` is what messages and reports will call the
    /// overlay.
    pub fn read(name: &str, folder: &Path) -> config::Result<Self> {
        let path = folder.join(FILE_NAME);
        let boundary = Boundary::of_folder(folder).map_err(|error| match error {
            // Only this file makes the folder an overlay.
            config::Error::Io { source, .. } => config::Error::Io {
                path: path.clone(),
                source,
            },
            other => other,
        })?;
        let readings = Arc::<Readings>::default();
        let source = Source::from_file(readings.reader(&path, boundary.open(&path)?), &path)?;
        let mut table = decode::parse(&source)?;
        let declarations = Declarations::decode(&source, table.remove("variables"))?;
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            source,
            declarations,
            readings,
        })
    }

    /// The same, if nobody asks [`Overlay::check_readings`].
    #[must_use]
    pub fn without_readings(self) -> Self {
        Self {
            readings: Arc::new(Readings::none()),
            ..self
        }
    }

    /// The variables that it declares.
    pub fn declarations(&self) -> &Declarations {
        &self.declarations
    }

    /// Fills in the variables with what `given` has for them, or with their defaults. Checks all
    /// steps.
    pub fn resolve(self, given: impl Fn(&str) -> Option<Given>) -> config::Result<Overlay> {
        let variables = self.declarations.resolve(&self.source, given)?;
        let source = self.source.clone();
        let mut table = decode::parse(&source)?;
        table.remove("variables");
        for (_, value) in &table {
            template::check_sensitive(&source, value, &variables)?;
        }
        let description = text(&source, &mut table, "description")?;
        let files = FileRules::decode(&source, table.remove("files"), &variables)?;
        let live = live::read(&source, &mut table, &variables)?;
        let expectations = match table.remove("expect") {
            Some(value) => template::read(&source, value, &variables)?,
            None => Vec::new(),
        };
        let steps = match table.remove("step") {
            Some(value) => steps(&source, "step", value, &variables)?,
            None => Vec::new(),
        };
        if let Some((key, _)) = table.iter().next() {
            let known = ["description", "variables", "files", "step", "expect"];
            let error = source.error(key.span(), format!("unknown key `{key}`"));
            let hint = decode::alternatives("key", "keys", key.get_ref(), &known);
            return Err(error.with_hint(hint).into());
        }
        Ok(Overlay {
            name: self.name,
            description,
            variables,
            folder: self.folder,
            readings: self.readings,
            source,
            files,
            steps,
            expectations,
            live,
        })
    }
}

impl Overlay {
    /// Its folder on the host.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many steps it has.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Checks that the files in the overlay's folder that its steps name exist, and that those that are
    /// read are files in it.
    ///
    /// # Errors
    /// If one is not, with the place of the step.
    pub fn check_files(&self) -> config::Result<()> {
        let boundary = Boundary::of_folder(&self.folder)?;
        for step in &self.steps {
            for file in step.action.host_files() {
                if let Err(error) = self.check_file(&step.action, file, &boundary) {
                    let message = format!("overlay `{}`: {}", self.name, chain(&error));
                    return Err(self.source.error(step.span.clone(), message).into());
                }
            }
        }
        Ok(())
    }

    fn check_file(
        &self,
        action: &Action,
        file: &Path,
        boundary: &Boundary,
    ) -> Result<(), steps::Error> {
        let named = files::named(&self.folder, file, &self.readings)?;
        // Links and folders are copied as what they are.
        if !matches!(action, Action::Copy(_)) {
            for file in named.files() {
                boundary.check_file(file)?;
            }
        }
        Ok(())
    }

    /// Its steps that wish for packages, or for their removal, by name.
    pub(super) fn wishing_steps(&self) -> impl Iterator<Item = (&Step, &Packages)> {
        let packages = self.steps.iter().filter_map(|step| match &step.action {
            Action::Package(packages) => Some((step, packages)),
            _ => None,
        });
        packages.filter(|(_, packages)| packages.names().chain(packages.removed()).next().is_some())
    }

    /// Whether it wishes for packages, or for their removal, by name: on some systems, at least.
    pub fn wishes(&self) -> bool {
        self.wishing_steps().next().is_some()
    }

    /// The steps in which it does, of those whose guards hold on this system.
    ///
    /// # Errors
    /// If a guard looks at what cannot be read.
    pub fn wishing(&self, facts: &Facts, fs: &dyn FileSystem) -> tree::Result<Vec<&Packages>> {
        let mut wishing = Vec::new();
        for (step, packages) in self.wishing_steps() {
            if step.is_due(facts, fs, &self.variables)? {
                wishing.push(packages);
            }
        }
        Ok(wishing)
    }

    /// Makes sure that it names no packages to be installed, where no repository is known.
    ///
    /// # Errors
    /// If it does, with the place of the step.
    pub fn check_nameless(&self) -> Result<(), Diagnostic> {
        let mut steps = self.wishing_steps();
        match steps.find(|(_, packages)| packages.names().next().is_some()) {
            None => Ok(()),
            Some((step, _)) => {
                let name = &self.name;
                let message =
                    format!("overlay `{name}` names packages, and the recipe has no repository");
                let error = self.source.error(step.span.clone(), message);
                Err(error.with_hint("a `[[repository]]` of the recipe has packages"))
            }
        }
    }

    /// Makes sure that all that was read of the folder until now is what was hashed there.
    ///
    /// # Errors
    /// As [`Readings::check`].
    pub fn check_readings(&self, contents: &Contents) -> config::Result<()> {
        self.readings.check(&self.folder, contents)
    }
}

fn text(source: &Source, table: &mut Table<'_>, key: &str) -> Result<Option<String>, Diagnostic> {
    let value = table.remove(key);
    value.map(|value| decode::decode(source, value)).transpose()
}

/// Reads a list of steps, the value of this key.
pub(super) fn steps(
    source: &Source,
    key: &str,
    value: Value<'_>,
    variables: &Variables,
) -> Result<Vec<Step>, Diagnostic> {
    let span = value.span();
    let DeValue::Array(values) = value.into_inner() else {
        let error = source.error(span, format!("`{key}` must be a list of tables"));
        return Err(error.with_hint(format!("each step begins with a line `[[{key}]]`")));
    };
    let steps = values.into_iter();
    steps.map(|value| step(source, value, variables)).collect()
}

fn step(source: &Source, value: Value<'_>, variables: &Variables) -> Result<Step, Diagnostic> {
    let literals = template::literals(&value, variables);
    let Rendered { value, typed } = template::render_all(source, value, variables, &literals)?;
    let span = value.span();
    let DeValue::Table(mut table) = value.into_inner() else {
        return Err(source.error(span, "a step must be a table"));
    };
    let when = table.remove("when");
    let when = when
        .map(|value| {
            let (span, typed) = (value.span(), typed.clone());
            let when: When = decode::decode_rendered(source, Rendered { value, typed })?;
            let checked = when.check(variables);
            checked.map_err(|problem| source.error(span, problem))?;
            Ok(when)
        })
        .transpose()?;
    let is_unknown = |key: &str| !Action::KINDS.contains(&key);
    if let Some((key, _)) = table.iter().find(|(key, _)| is_unknown(key.get_ref())) {
        let error = source.error(key.span(), format!("`{key}` is not known here"));
        let known = [&Action::KINDS[..], &["when"]].concat();
        let hint = decode::alternatives("key", "keys", key.get_ref(), &known);
        return Err(error.with_hint(hint));
    }
    let mut keys = table.iter().map(|(key, value)| (key.span(), value.span()));
    let span = match (keys.next(), keys.next()) {
        (Some((key, value)), None) => key.start..value.end,
        (Some(_), Some((second, _))) => {
            let error = source.error(second, "a step does one thing, and this is a second one");
            return Err(error.with_hint("begin another step with `[[step]]`"));
        }
        (None, _) => {
            let error = source.error(span, "the step says nothing to do");
            let kinds = Action::KINDS.map(|kind| format!("`{kind}`")).join(", ");
            return Err(error.with_hint(format!("the kinds of steps are {kinds}")));
        }
    };
    let value = Value::new(span.clone(), DeValue::Table(table));
    let action = decode::decode_rendered(source, Rendered { value, typed })?;
    Ok(Step { when, action, span })
}
