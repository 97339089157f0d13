//! The order in which packages are installed: each after those that it needs.

use std::collections::BTreeSet;

use super::super::boolean::Expression;
use super::super::version::{self, Dependency, sense};
use super::world::World;

/// What a package waits for.
#[derive(Debug, Default)]
struct Waits {
    /// What its scripts need while it is installed.
    strongly: BTreeSet<usize>,
    /// All that it needs.
    weakly: BTreeSet<usize>,
}

/// The candidates by their numbers, each after those that it requires. In a circle the needs of
/// scripts count more than others; if these go in circles too, the order asked for decides.
pub(super) fn install_order(world: &World<'_>) -> Vec<usize> {
    let first = world.members.len() - world.arriving().len();
    let mut waits: Vec<_> = world
        .arriving()
        .iter()
        .enumerate()
        .map(|(own, member)| {
            let mut waits = Waits::default();
            for required in version::requires(member.header) {
                let is_strong = required.flags & sense::BEFORE != 0;
                for provider in providers(world, &required) {
                    let Some(provider) = provider.checked_sub(first).filter(|other| *other != own)
                    else {
                        continue;
                    };
                    waits.weakly.insert(provider);
                    if is_strong {
                        waits.strongly.insert(provider);
                    }
                }
            }
            waits
        })
        .collect();
    let mut left: BTreeSet<_> = (0..waits.len()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let free = |of: &dyn Fn(&Waits) -> bool| left.iter().copied().find(|own| of(&waits[*own]));
        let next = free(&|waits| waits.weakly.is_empty())
            .or_else(|| free(&|waits| waits.strongly.is_empty()))
            .or_else(|| left.first().copied());
        let Some(next) = next else { break };
        left.remove(&next);
        order.push(next);
        for waits in &mut waits {
            waits.weakly.remove(&next);
            waits.strongly.remove(&next);
        }
    }
    order
}

/// The packages that could meet a dependency or a part of it.
fn providers(world: &World<'_>, required: &Dependency) -> BTreeSet<usize> {
    let found = std::cell::RefCell::new(BTreeSet::new());
    if let Some(expression) = Expression::parse(required) {
        // Which of them are needed does not matter for the order.
        expression.holds(&|dependency| {
            let providers = world.providers(dependency, &|_, other| other.stays());
            found.borrow_mut().extend(providers.iter().copied());
            providers
        });
    }
    found.into_inner()
}
