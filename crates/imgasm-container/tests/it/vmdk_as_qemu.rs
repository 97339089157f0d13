//! The streamed VMDK, compared with the one that EC2 is known to import: what `qemu-img` writes
//! with `adapter_type=lsilogic,subformat=streamOptimized,compat6`.

use std::fs;
use std::path::Path;

use imgasm_block::{ChunkMap, FileDevice};
use imgasm_container::{OutputFormat, write_file};
use imgasm_testkit::disk::sparse_disk;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// A field of the header ("Virtual Disk Format 5.0", "Hosted Sparse Extent Header"): its name, where
/// it lies, and its bytes.
type Field = (&'static str, usize, usize);

/// The fields that must be the same. A stream has its grain directory at the end and no second one,
/// so `rgdOffset`, `gdOffset` and the flag that goes with the second directory are not among these.
const SAME: [Field; 11] = [
    ("magicNumber", 0, 4),
    ("version", 4, 4),
    ("capacity", 12, 8),
    ("grainSize", 20, 8),
    ("descriptorOffset", 28, 8),
    ("descriptorSize", 36, 8),
    ("numGTEsPerGT", 44, 4),
    ("overHead", 64, 8),
    ("uncleanShutdown", 72, 1),
    ("singleEndLineChar to doubleEndLineChar2", 73, 4),
    ("compressAlgorithm", 77, 2),
];

const FLAGS_AT: usize = 8;
const SECOND_DIRECTORY: u32 = 2;
const GRAIN_DIRECTORY_AT: std::ops::Range<usize> = 56..64;
const SECTOR: usize = 512;

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

/// The lines of the descriptor, except those that belong to one file: its content's id and its
/// name.
fn descriptor(vmdk: &[u8]) -> Vec<String> {
    let text = &vmdk[SECTOR..21 * SECTOR];
    let end = text.iter().position(|byte| *byte == 0).unwrap();
    let text = std::str::from_utf8(&text[..end]).unwrap();
    let own = |line: &str| match line.split_once(" SPARSE ") {
        Some((extent, _)) => extent.to_owned(),
        None if line.starts_with("CID=") => "CID".to_owned(),
        None => line.to_owned(),
    };
    text.lines().map(own).collect()
}

/// The kinds of markers from the end of the grains on, with the sectors that each counts.
fn marker(vmdk: &[u8], at: usize) -> (u32, u32, u32) {
    let size = number(&vmdk[at + 8..]);
    (number(&vmdk[at..]), size, number(&vmdk[at + 12..]))
}

#[test]
fn header_descriptor_markers_and_footer_are_those_that_import() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, theirs, ours) = (
        dir.path().join("disk.raw"),
        dir.path().join("theirs.vmdk"),
        dir.path().join("ours.vmdk"),
    );
    sparse_disk(&raw, 100 << 20, 3);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let options = "adapter_type=lsilogic,subformat=streamOptimized,compat6";
    let convert = ["convert", "-f", "raw", "-O", "vmdk", "-o", options];
    let (from, to) = (text(&raw), text(&theirs));
    let args: Vec<&str> = convert.into_iter().chain([&*from, &*to]).collect();
    run("qemu-img", &args);
    let device = FileDevice::open(&raw).unwrap();
    let chunk_map = ChunkMap::compute(&device).unwrap();
    let format = OutputFormat::StreamOptimizedVmdk;
    let output = imgasm_block::Output::create(&ours).unwrap();
    write_file(&device, &chunk_map, format, output, &|_, _| {}).unwrap();
    let (theirs, ours) = (fs::read(theirs).unwrap(), fs::read(ours).unwrap());

    for (name, at, len) in SAME {
        assert_eq!(ours[at..at + len], theirs[at..at + len], "{name}");
    }
    let flags = number(&theirs[FLAGS_AT..]) & !SECOND_DIRECTORY;
    assert_eq!(number(&ours[FLAGS_AT..]), flags);
    assert_eq!(descriptor(&ours), descriptor(&theirs));

    // The first grain lies behind the overhead in both, and holds the same place of the disk.
    let first = 128 * SECTOR;
    assert_eq!(ours[first..first + 8], theirs[first..first + 8]);

    // The stream's own end: the footer between its marker and the one of the end.
    let end = ours.len() - SECTOR;
    assert_eq!(marker(&ours, end), (0, 0, 0));
    assert_eq!(marker(&ours, end - 2 * SECTOR), (1, 0, 3));
    let footer = &ours[end - SECTOR..end];
    for (at, (header, footer)) in ours[..SECTOR].iter().zip(footer).enumerate() {
        if !GRAIN_DIRECTORY_AT.contains(&at) {
            assert_eq!(header, footer, "byte {at}");
        }
    }
    let directory_at = u64::from_le_bytes(footer[GRAIN_DIRECTORY_AT].try_into().unwrap());
    let directory = usize::try_from(directory_at).unwrap() * SECTOR;
    assert_eq!(marker(&ours, directory - SECTOR), (1, 0, 2));
    assert_eq!(ours[GRAIN_DIRECTORY_AT], [0xff; 8]);
}
