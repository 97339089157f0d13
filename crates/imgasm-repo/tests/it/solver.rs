//! Wishes solved by us and by dnf, on the same repositories and systems.

use crate::support::world::World;
use imgasm_repo::Error;

/// Compares what both say of wishes, one after the other.
fn agree(world: &World, wishes: &[&str], weak: bool) {
    let wishes: Vec<_> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
    let ours = world.ours(&wishes, weak);
    let theirs = world.theirs(&wishes, weak);
    for ((wish, ours), theirs) in wishes.iter().zip(ours).zip(theirs) {
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{wish}"),
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{wish}: {ours:?} where dnf says {theirs:?}"),
        }
    }
}

#[test]
fn a_newer_version_still_has_the_files_of_the_older_one() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.install("owner-1", "file:/opt/deep/file");
    world.install("needy-1", "requires:/opt/deep/file");
    world.install("other-1", "file:/opt/other");
    world.install("fussy-1", "requires:/opt/other");
    world.add("owner-2", "file:/opt/deep/file");
    world.add("other-2", "");
    world.finish(&[]);
    let wishes = [
        "upgrade:owner",
        "upgrade:*",
        "install:owner-2",
        "upgrade:other",
    ];
    agree(&world, &wishes, true);
}

#[test]
fn what_is_wished_comes_with_what_it_needs() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.install("base-1", "provides:feature=2");
    world.install("old-1", "requires:base");
    world.install("editor-1", "");
    world.install("reader-1", "requires:editor");
    world.install("protected-1", "");
    world.add("base-2", "provides:feature=3");
    world.add("old-2", "requires:base>=2");
    world.add("new-1", "obsoletes:editor<2 provides:editor=2");
    world.add("jq-1.6", "requires:feature");
    world.add("jq-1.7", "requires:feature>=3 requires:/usr/bin/tool");
    world.add("tool-1", "file:/usr/bin/tool");
    world.add("deep-1", "requires:/opt/deep/file");
    world.add("owner-1", "file:/opt/deep/file");
    world.add("both-1.x86_64", "");
    world.add("both-1.i686", "");
    world.add("foreign-1.aarch64", "");
    world.add("rich-1", "requires:(tool~or~nothing) requires:(jq~if~base)");
    world.add("picky-1", "conflicts:base<2");
    world.add("selfish-1", "conflicts:selfish");
    world.add("lonely-1", "conflicts:(lonely~and~base)");
    world.add("circle-1", "requires:round");
    world.add("round-1", "requires:circle");
    world.add("nowhere-1", "requires:nobody>=3");
    // Each could be met by something new, or by what takes the place of something installed.
    world.install("shell-1", "");
    world.add("ash-1", "provides:sh");
    world.add("shell-2", "provides:sh");
    world.add("script-1", "requires:sh");
    world.install("mta-1", "");
    world.install("mua-1", "requires:mta=1");
    world.add("mta-2", "provides:mail");
    world.add("sender-1", "provides:mail");
    world.add("cron-1", "requires:mail");
    world.add("agent-1", "");
    world.add("agent-2", "obsoletes:mta<2");
    world.add("wants-1", "requires:agent");
    world.finish(&[]);
    agree(
        &world,
        &[
            "install:jq",
            "install:jq-1.6",
            "install:jq.noarch",
            "install:jq~<~1.7",
            "install:/usr/bin/tool",
            "install:/opt/deep/file",
            "install:deep",
            "install:both",
            "install:both.i686",
            "install:foreign",
            "install:rich",
            "install:picky",
            "install:selfish",
            "install:lonely",
            "install:circle",
            "install:nowhere",
            "install:missing",
            "install:j*",
            "install:base",
            "install:new",
            "upgrade:*",
            "upgrade:base",
            "upgrade:editor",
            "upgrade:missing",
            "remove:editor",
            "remove:base",
            "remove:protected",
            "remove:old install:jq",
            "install:script",
            "install:cron",
            "install:wants",
            "upgrade:agent",
        ],
        false,
    );
}

#[test]
fn what_goes_well_comes_too_if_it_can() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.install("here-1", "recommends:late");
    world.add("here-2", "recommends:late recommends:fresh");
    world.add("late-1", "");
    world.add("fresh-1", "");
    world.add(
        "app-1",
        "recommends:nice recommends:broken recommends:(extra~if~here)",
    );
    world.add("nice-1", "recommends:nicer");
    world.add("nicer-1", "");
    world.add("broken-1", "requires:nobody");
    world.add("extra-1", "");
    world.add("lang-1", "supplements:(app~and~here)");
    world.add("other-1", "supplements:here");
    world.add(
        "wisher-1",
        "recommends:other recommends:late recommends:fresh",
    );
    world.finish(&[]);
    let wishes = [
        "install:app",
        "upgrade:*",
        "install:nice",
        "install:lang",
        "install:wisher",
    ];
    agree(&world, &wishes, true);
    agree(&world, &wishes, false);
}

#[test]
fn a_contradiction_is_explained() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.install("base-1", "");
    world.install("user-1", "requires:base=1-1");
    world.add("base-2", "");
    world.add("one-1", "conflicts:other");
    world.add("other-1", "");
    world.add("wants-1", "requires:base>=2");
    world.add("deep-1", "requires:deeper");
    world.add("deeper-1", "requires:nobody");
    world.finish(&[]);
    for (wish, wanted) in [
        (
            "install:one install:other",
            &[
                "`one` is wished for, which is one-1-1.noarch",
                "`other` is wished for, which is other-1-1.noarch",
                "one-1-1.noarch conflicts with `other`",
            ][..],
        ),
        (
            "install:deep",
            &[
                "`deep` is wished for, which is deep-1-1.noarch",
                "deep-1-1.noarch requires `deeper`",
                "nothing provides `nobody`, which deeper-1-1.noarch requires",
            ],
        ),
        (
            "install:wants",
            &[
                "`wants` is wished for, which is wants-1-1.noarch",
                "user-1-1.noarch is installed, and no wish is for its removal",
                "base-1-1.noarch and base-2-1.noarch cannot both be installed",
                "user-1-1.noarch requires `base = 1-1`",
                "wants-1-1.noarch requires `base >= 2`",
            ],
        ),
    ] {
        let found = world.ours(&[wish.to_owned()], false).remove(0);
        let Err(Error::Unsolvable { mut problems }) = found else {
            panic!("{wish}: {found:?}");
        };
        problems.sort();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(problems, wanted, "{wish}");
    }
}

#[test]
fn a_search_ends() {
    let Some(world) = World::new() else { return };
    // One pigeon more than there are holes, each hole for one: no search is known that is not longer
    // with each of them by far.
    let holes = 9;
    for pigeon in 0..=holes {
        for hole in 0..holes {
            let others = (0..=holes).filter(|other| *other != pigeon);
            let others = others.map(|other| format!("conflicts:p{other}h{hole}"));
            let relations: Vec<_> = others.chain([format!("provides:pigeon{pigeon}")]).collect();
            world.add(&format!("p{pigeon}h{hole}-1"), &relations.join(" "));
        }
    }
    world.finish(&[]);
    let wishes: Vec<_> = (0..=holes)
        .map(|pigeon| format!("install:pigeon{pigeon}"))
        .collect();
    let solved = &world.ours(&[wishes.join(" ")], true)[0];
    assert!(matches!(solved, Err(Error::TooHard)), "{solved:?}");
}

#[test]
fn groups_are_installed_whole() {
    let Some(world) = World::new() else { return };
    for name in ["a-1", "b-1", "c-1"] {
        world.add(name, "");
    }
    let comps = world.folder.path().join("comps.xml");
    std::fs::write(
        &comps,
        "<?xml version='1.0'?><!DOCTYPE comps PUBLIC '-//Red Hat, Inc.//DTD Comps info//EN' 'comps.dtd'>\
         <comps><group><id>tools</id><name>Tools</name><description/><default>true</default>\
         <uservisible>true</uservisible><packagelist>\
         <packagereq type='mandatory'>a</packagereq><packagereq type='default'>b</packagereq>\
         <packagereq type='optional'>c</packagereq></packagelist></group></comps>",
    )
    .unwrap();
    world.finish(&["-g", comps.to_str().unwrap()]);
    agree(&world, &["install:@tools"], false);
    let missing = world.ours(&["install:@none".to_owned()], false).remove(0);
    assert!(matches!(missing, Err(Error::NoMatch { .. })));
}
