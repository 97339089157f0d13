//! Worlds of some hundred packages, grown from a seed, with wishes that both solve.
//!
//! `IMGASM_SOLVER_SEED` is the first seed, `IMGASM_SOLVER_SEEDS` says how many; each has 100 wishes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::support::world::World;
use imgasm_testkit::rng::Rng;

/// The names of packages in a world, and those that provide something else too.
const NAMES: usize = 300;
const CAPABILITIES: usize = 8;
const WISHES: usize = 100;

/// What a package says of others, in the words of [`World::add`].
fn relations(rng: &mut Rng, own: usize, weak: bool) -> String {
    let mut text = String::new();
    let mut add = |word: String| write!(text, "{word} ").unwrap();
    for _ in 0..rng.index(4) {
        // Most packages rest on few; that makes long chains, and circles.
        let reach = if rng.chance(60) { NAMES / 6 } else { NAMES };
        let other = rng.index(reach);
        add(match rng.index(16) {
            0..=8 => format!("requires:p{other}"),
            9 => format!("requires:p{other}>=2"),
            10 => format!("requires:cap{}", rng.index(CAPABILITIES)),
            11 => format!("requires:/usr/bin/p{other}"),
            12 => format!("requires:(p{other}~if~p{})", rng.index(NAMES)),
            13 => format!("requires:(p{other}>=2~or~p{other}<2)"),
            14 => format!("requires:(p{other}~with~p{other}>=1)"),
            _ => format!("requires:/opt/p{other}/file"),
        });
    }
    // Of each capability there is one provider, so that both choose it.
    if own < CAPABILITIES {
        add(format!("provides:cap{own}"));
    }
    if rng.chance(90) {
        add(format!("file:/usr/bin/p{own}"));
        add(format!("file:/opt/p{own}/file"));
    }
    if rng.chance(8) {
        add(format!("conflicts:p{}<2", rng.index(NAMES)));
    }
    if rng.chance(1) {
        add(format!("conflicts:p{}", rng.index(NAMES)));
    }
    if rng.chance(3) {
        let (one, other) = (rng.index(NAMES), rng.index(NAMES));
        add(format!("conflicts:(p{one}~and~p{other})"));
    }
    if rng.chance(3) {
        add(format!("obsoletes:p{}<2", rng.index(NAMES)));
    }
    if weak && rng.chance(30) {
        add(format!("recommends:p{}", rng.index(NAMES)));
    }
    if weak && rng.chance(10) {
        add(format!("supplements:p{}", rng.index(NAMES)));
    }
    text
}

/// A world, and wishes for it.
fn grown(seed: u64, weak: bool) -> Option<(World, Vec<String>)> {
    let mut world = World::new()?;
    let mut rng = Rng::new(seed);
    for own in 0..NAMES {
        let arches: &[&str] = match rng.index(10) {
            0 => &["x86_64", "i686"],
            1..=3 => &["x86_64"],
            _ => &["noarch"],
        };
        for version in 1..=1 + rng.index(3) {
            let text = relations(&mut rng, own, weak);
            for arch in arches {
                world.add(&format!("p{own}-{version}.{arch}"), &text);
            }
        }
        if rng.chance(25) {
            let arch = arches[0];
            // Of no version that the repository has, which would be another package.
            world.install(&format!("p{own}-0.{arch}"), &format!("provides:own{own}"));
        }
    }
    world.finish(&[]);
    let wishes = (0..WISHES).map(|_| {
        let (one, other) = (rng.index(NAMES), rng.index(NAMES));
        match rng.index(11) {
            0..=3 => format!("install:p{one}"),
            4 => format!("install:p{one} install:p{other}"),
            5 => format!("install:p{one}-2 install:p{other}.i686"),
            6 => format!("install:/usr/bin/p{one} install:cap{}", one % CAPABILITIES),
            7 => format!("upgrade:p{one}"),
            8 => format!("remove:p{one}"),
            9 => format!("remove:p{one} install:p{other}"),
            _ => format!("install:p{one}?"),
        }
    });
    let all = std::iter::once("upgrade:*".to_owned());
    let wishes = all.chain(wishes).collect();
    Some((world, wishes))
}

/// A solution as exact wishes.
fn exactly(solution: &[String]) -> String {
    let name = |one: &str| one.split('-').next().unwrap_or_default().to_owned();
    let arriving: Vec<_> = solution
        .iter()
        .filter_map(|one| one.strip_prefix('+'))
        .collect();
    let names: BTreeSet<_> = arriving.iter().map(|one| name(one)).collect();
    let mut exact = String::new();
    for one in &arriving {
        write!(exact, "install:{one} ").unwrap();
    }
    for one in solution.iter().filter_map(|one| one.strip_prefix('-')) {
        if !names.contains(&name(one)) {
            write!(exact, "remove:{one} ").unwrap();
        }
    }
    exact
}

fn number(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(usual, |text| text.parse().unwrap())
}

/// Whether a solution changes no more than another, or installs newer versions and no older ones.
fn is_as_good(ours: &[String], theirs: &[String]) -> bool {
    let parts = |one: &String| {
        let (name, rest) = one.strip_prefix('+')?.split_once('-')?;
        let (version, arch) = rest.split_once('.')?;
        Some((format!("{name}.{arch}"), version.to_owned()))
    };
    let theirs_by_name: BTreeMap<_, _> = theirs.iter().filter_map(parts).collect();
    let common = ours.iter().filter_map(parts);
    let orders: Vec<_> = common
        .filter_map(|(name, version)| Some(version.cmp(theirs_by_name.get(&name)?)))
        .collect();
    let has = |wanted| orders.contains(&wanted);
    ours.len() <= theirs.len() || has(Ordering::Greater) && !has(Ordering::Less)
}

/// Whether a solution takes a package away that neither is named nor comes back newer.
fn takes_more(wish: &str, solution: &[String]) -> bool {
    let name = |one: &str| one[1..].split('-').next().unwrap_or_default().to_owned();
    let arriving = solution.iter().filter(|one| one.starts_with('+'));
    let arriving: BTreeSet<_> = arriving.map(|one| name(one)).collect();
    let mut leaving = solution.iter().filter(|one| one.starts_with('-'));
    leaving.any(|one| {
        let name = name(one);
        let is_named = wish.split(' ').any(|word| word == format!("remove:{name}"));
        !is_named && !arriving.contains(&name)
    })
}

/// dnf must take every solution of ours when it is named. Few are not the same as dnf's own, and of
/// these nearly all are as good.
#[test]
fn grown_worlds_are_solved_as_dnf_solves_them() {
    let first = number("IMGASM_SOLVER_SEED", 1);
    let (mut same, mut failed, mut wrong) = (0, 0, Vec::new());
    let (mut other, mut larger) = (Vec::new(), Vec::new());
    for seed in first..first + number("IMGASM_SOLVER_SEEDS", 2) {
        let weak = seed % 2 == 0;
        let Some((world, wishes)) = grown(seed, weak) else {
            return;
        };
        let ours = world.ours(&wishes, weak);
        let theirs = world.theirs(&wishes, weak);
        let mut named = Vec::new();
        for ((wish, ours), theirs) in wishes.iter().zip(ours).zip(theirs) {
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) if ours == theirs => same += 1,
                (Err(_), Err(_)) => failed += 1,
                // To us, what is to go and is not there is gone already; and who wishes for a removal
                // does not wish for others.
                (Ok(_), Err(theirs)) if wish.contains("remove:") && theirs.contains("No match") => {
                    failed += 1;
                }
                (Err(_), Ok(theirs)) if wish.contains("remove:") && takes_more(wish, &theirs) => {
                    failed += 1;
                }
                (Ok(ours), Ok(theirs)) => named.push((wish, ours, theirs)),
                (ours, theirs) => wrong.push(format!("{seed}, {wish}: {ours:?}, dnf {theirs:?}")),
            }
        }
        let exact: Vec<_> = named.iter().map(|(_, ours, _)| exactly(ours)).collect();
        for ((wish, ours, theirs), taken) in named.iter().zip(world.theirs(&exact, weak)) {
            let case = format!("{seed}, {wish}: {ours:?}, dnf {theirs:?}");
            if taken.as_ref() != Ok(ours) {
                wrong.push(format!("{case} and then {taken:?}"));
            } else if is_as_good(ours, theirs) {
                other.push(format!("{seed}, {wish}"));
            } else {
                larger.push(case);
            }
        }
    }
    println!(
        "{same} are the same, {failed} cannot be, {} are others as good: {other:?}; {} are larger:\n{}",
        other.len(),
        larger.len(),
        larger.join("\n")
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(failed > 0 && same > 9 * other.len() && same > 49 * larger.len());
}
