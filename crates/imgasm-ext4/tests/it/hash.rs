//! Name hashes of indexed directories against those that debugfs computes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use imgasm_testkit::need;

use of_names::{HashVersion, NameHash, Signedness, hash_name};

/// The module itself: it is not public.
#[allow(dead_code, reason = "the rest of it is tested where it lies")]
#[path = "../../src/hash.rs"]
mod of_names;

/// A seed as debugfs takes it, and as the superblock stores it.
const SEED_UUID: &str = "01234567-89ab-cdef-f0e1-d2c3b4a59687";
const SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0xc3d2_e1f0, 0x8796_a5b4];

/// debugfs reads its commands in lines of at most 255 bytes.
const LONGEST_NAME_IN_A_COMMAND: usize = 190;

/// What debugfs prints when given `commands` on its standard input.
fn debugfs(commands: &[u8]) -> Vec<u8> {
    let mut child = Command::new("debugfs")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("debugfs");
    let mut stdin = child.stdin.take().unwrap();
    let commands = commands.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&commands).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

/// The hashes in debugfs's answers, in order.
fn parse_answers(output: &[u8]) -> Vec<NameHash> {
    let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let text = String::from_utf8_lossy(output);
    text.lines()
        .filter(|line| line.starts_with("Hash of "))
        .map(|line| {
            let (front, minor) = line.rsplit_once(" (minor ").unwrap();
            let (_, major) = front.rsplit_once(" is ").unwrap();
            NameHash {
                major: hex(major),
                minor: hex(minor.trim_end_matches(')')),
            }
        })
        .collect()
}

/// A name of `len` bytes that needs no quoting, with many bytes from 0x80 on.
fn name_of(len: usize, salt: usize) -> Vec<u8> {
    let mut state = u32::try_from(len * 7919 + salt * 104_729 + 1).unwrap();
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (state >> 24).to_le_bytes()[0] {
                byte @ 0x80..=0xff => byte,
                byte => b'a' + byte % 26,
            }
        })
        .collect()
}

#[test]
fn every_version_agrees_with_debugfs() {
    if !need::tools(&["debugfs"]) {
        return;
    }
    let cases: Vec<(u8, [u32; 4], Vec<u8>)> = (0..6)
        .flat_map(|number| {
            (0..=LONGEST_NAME_IN_A_COMMAND).flat_map(move |len| {
                (0..3).map(move |salt| {
                    let seed = if salt == 0 { [0; 4] } else { SEED };
                    (number, seed, name_of(len, salt))
                })
            })
        })
        .collect();
    let mut commands = Vec::new();
    for (number, seed, name) in &cases {
        let mut command = format!("dx_hash -h {number} ");
        if *seed == SEED {
            write!(command, "-s {SEED_UUID} ").unwrap();
        }
        commands.extend(command.as_bytes());
        commands.push(b'"');
        commands.extend(name);
        commands.extend(b"\"\n");
    }
    let output = debugfs(&commands);
    let expected = parse_answers(&output);
    assert_eq!(expected.len(), cases.len());
    for ((number, seed, name), expected) in cases.iter().zip(expected) {
        let version = HashVersion::from_number(*number, Signedness::Signed).unwrap();
        let seen = hash_name(name, version, *seed);
        assert_eq!(
            seen,
            expected,
            "version {number}, name {:?}",
            String::from_utf8_lossy(name)
        );
    }
}

#[test]
fn the_longest_names_agree_with_debugfs() {
    use std::os::unix::ffi::OsStringExt as _;
    if !need::tools(&["debugfs"]) {
        return;
    }
    for number in 0..6 {
        for len in [191, 223, 224, 225, 239, 240, 241, 254, 255] {
            let name = name_of(len, 1);
            let mut request = format!("dx_hash -h {number} -s {SEED_UUID} ").into_bytes();
            request.extend(&name);
            let output = Command::new("debugfs")
                .arg("-R")
                .arg(std::ffi::OsString::from_vec(request))
                .output()
                .expect("debugfs");
            let version = HashVersion::from_number(number, Signedness::Signed).unwrap();
            assert_eq!(
                parse_answers(&output.stdout),
                [hash_name(&name, version, SEED)],
                "version {number}, length {len}"
            );
        }
    }
}
