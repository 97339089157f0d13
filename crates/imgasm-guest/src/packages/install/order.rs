//! The order in which packages are installed, each after those that it needs, and in which they go,
//! each before those.

use super::super::boolean::Expression;
use super::super::header::Header;
use super::super::tags::{self, Tag};
use super::super::version::{self, Dependency, sense};
use super::tsort::Graph;
use super::world::World;

/// The colour of programs of 64 bit, which come first.
const PREFERRED: u64 = 2;
/// The lists of a header that count, and whether they are said the other way round.
const LISTS: [([Tag; 3], bool); 5] = [
    (
        [
            tags::RECOMMEND_NAME,
            tags::RECOMMEND_FLAGS,
            tags::RECOMMEND_VERSION,
        ],
        false,
    ),
    (
        [
            tags::SUGGEST_NAME,
            tags::SUGGEST_FLAGS,
            tags::SUGGEST_VERSION,
        ],
        false,
    ),
    (
        [
            tags::SUPPLEMENT_NAME,
            tags::SUPPLEMENT_FLAGS,
            tags::SUPPLEMENT_VERSION,
        ],
        true,
    ),
    (
        [
            tags::ENHANCE_NAME,
            tags::ENHANCE_FLAGS,
            tags::ENHANCE_VERSION,
        ],
        true,
    ),
    (
        [tags::ORDER_NAME, tags::ORDER_FLAGS, tags::ORDER_VERSION],
        false,
    ),
];

/// The candidates by their numbers.
pub(super) fn install_order(world: &World<'_>) -> Vec<usize> {
    let first = world.members.len() - world.arriving().len();
    let members: Vec<_> = (first..world.members.len()).collect();
    let order = sorted(world, &members, false);
    order.into_iter().map(|number| number - first).collect()
}

/// The installed packages that go, by their numbers among all. They are told to RPM each with what takes
/// its place, then those that go by wish.
pub(super) fn removal_order(world: &World<'_>) -> Vec<usize> {
    let numbers =
        || (0..world.members.len()).filter(|number| world.members[*number].record.is_some());
    let mut members = Vec::new();
    for (new, arriving) in world.arriving().iter().enumerate() {
        let replaced = |number: &usize| world.members[*number].replaced_by == Some(new);
        let is_update =
            |number: &usize| world.members[*number].package.name == arriving.package.name;
        members.extend(numbers().filter(replaced).filter(is_update));
        members.extend(
            numbers()
                .filter(replaced)
                .filter(|number| !is_update(number)),
        );
    }
    members.extend(world.removed());
    sorted(world, &members, true)
}

/// Sorts some of the members, which all come or all go.
fn sorted(world: &World<'_>, members: &[usize], is_removal: bool) -> Vec<usize> {
    let colors: Vec<_> = members
        .iter()
        .map(|number| color(world.members[*number].header))
        .collect();
    let mut places = vec![None; world.members.len()];
    for (place, number) in members.iter().enumerate() {
        places[*number] = Some(place);
    }
    let mut relations = Relations {
        world,
        places: &places,
        colors: &colors,
        is_removal,
        graph: Graph::new(colors.iter().copied(), is_removal, PREFERRED),
    };
    for (own, number) in members.iter().enumerate() {
        let header = world.members[*number].header;
        for required in version::requires(header) {
            relations.add(own, &required, false, false);
        }
        for ([names, flags, versions], is_reverse) in LISTS {
            for named in version::dependencies(header, names, flags, versions) {
                let is_weak = names != tags::ORDER_NAME;
                relations.add(own, &named, is_reverse, is_weak);
            }
        }
    }
    let order = relations.graph.sorted();
    order.into_iter().map(|own| members[own]).collect()
}

/// Which of 32 and 64 bit those programs of a package are for that need or provide something, as bits.
fn color(header: &Header) -> u64 {
    let colors = header.numbers(tags::FILE_COLORS).into_iter();
    let counts = header.numbers(tags::FILE_DEPENDS_COUNTS).into_iter();
    let colors = colors.zip(counts).filter(|(_, count)| *count > 0);
    colors.fold(0, |all, (color, _)| all | color) & 0xf
}

/// What comes before what.
struct Relations<'r> {
    world: &'r World<'r>,
    /// The places of the members among those that are sorted.
    places: &'r [Option<usize>],
    colors: &'r [u64],
    is_removal: bool,
    graph: Graph,
}

impl Relations<'_> {
    /// Takes in something that a package says of others.
    fn add(&mut self, own: usize, named: &Dependency, is_reverse: bool, is_weak: bool) {
        let flags = named.flags;
        if flags & sense::UNORDERED != 0 && flags & sense::SCRIPTS == 0 {
            return;
        }
        if let Some(expression) = Expression::parse(named) {
            let scripts = if self.is_removal {
                sense::REMOVAL_SCRIPTS
            } else {
                sense::INSTALL_ONLY
            };
            let is_legacy = flags & sense::ANY_NEED == sense::PREREQUISITE;
            let is_strong = !is_weak && (flags & scripts != 0 || is_legacy);
            self.add_parts(own, &expression, is_strong, is_reverse);
        }
    }

    /// Takes in the parts of an expression that could be needed.
    fn add_parts(
        &mut self,
        own: usize,
        expression: &Expression,
        is_strong: bool,
        is_reverse: bool,
    ) {
        match expression {
            Expression::Simple(named) => {
                if let Some(other) = self.provider(own, named) {
                    // What goes does so the other way round.
                    if is_reverse == self.is_removal {
                        self.graph.add(other, own, is_strong, true);
                    } else {
                        self.graph.add(own, other, is_strong, false);
                    }
                }
            }
            Expression::And(list) | Expression::Or(list) => {
                for part in list {
                    self.add_parts(own, part, is_strong, is_reverse);
                }
            }
            Expression::With(list) => {
                if let Some(part) = list.first() {
                    self.add_parts(own, part, is_strong, is_reverse);
                }
            }
            Expression::Without(pair) => self.add_parts(own, &pair[0], is_strong, is_reverse),
            Expression::If(pair, otherwise) | Expression::Unless(pair, otherwise) => {
                self.add_parts(own, &pair[0], is_strong, is_reverse);
                if let Some(otherwise) = otherwise {
                    self.add_parts(own, otherwise, is_strong, is_reverse);
                }
            }
        }
    }

    /// The package that meets a dependency: of several one of the preferred colour, or itself, or the
    /// first.
    fn provider(&self, own: usize, named: &Dependency) -> Option<usize> {
        let found = self
            .world
            .providers(named, &|number, _| self.places[number].is_some());
        let mut places: Vec<_> = found
            .iter()
            .filter_map(|number| self.places[*number])
            .collect();
        places.sort_unstable();
        let score = |place: usize| {
            let is_preferred = self.colors[place] == PREFERRED;
            2 * usize::from(is_preferred) + usize::from(place == own)
        };
        // Of those that are as good, the first.
        places.into_iter().rev().max_by_key(|place| score(*place))
    }
}
