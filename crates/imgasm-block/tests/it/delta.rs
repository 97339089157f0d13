//! The copy-on-write delta against a plain vector of bytes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use imgasm_block::{BlockDevice, ChangeKind, Delta, Error, FileDevice, MemoryDevice};
use imgasm_testkit::rng::Rng;

const BLOCK: u64 = 4096;

/// A sparse file with data in some blocks, and the same bytes in memory.
fn sparse_base(random: &mut Rng, len: u64) -> (Arc<FileDevice>, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(len).expect("room for a hole");
    let device = FileDevice::open_writable(file.path()).expect("the file was just made");
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    for _ in 0..len / BLOCK / 4 {
        let start = random.below(len);
        let end = (start + 1 + random.below(3 * BLOCK)).min(len);
        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        random.fill(&mut bytes[range.clone()]);
        device.write_at(start, &bytes[range]).unwrap();
    }
    (Arc::new(device), bytes)
}

fn data_ranges(device: &dyn BlockDevice) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(range) = device.next_data(from).unwrap() {
        assert!(range.start >= from && range.end > range.start && range.end <= device.len());
        from = range.end;
        ranges.push(range);
    }
    ranges
}

fn check(delta: &Delta, model: &[u8], base: &[u8]) {
    let mut bytes = vec![0xaa; model.len()];
    delta.read_at(0, &mut bytes).unwrap();
    assert!(bytes == model, "reading gives what was written");

    // Everything outside the data ranges is zero.
    let mut outside = bytes.clone();
    for range in data_ranges(delta) {
        outside[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].fill(0);
    }
    assert!(
        outside.iter().all(|&byte| byte == 0),
        "a hole reads as zeros"
    );

    // The base with the changes is the model, and every changed block really differs.
    let mut rebuilt = base.to_vec();
    rebuilt.resize(model.len(), 0);
    let mut last_end = 0;
    let mut last_kind = None;
    for change in delta.changes().unwrap() {
        assert!(change.range.start > last_end || last_kind != Some(change.kind) || last_end == 0);
        assert!(change.range.start >= last_end, "changes come in order");
        let range = usize::try_from(change.range.start).unwrap()
            ..usize::try_from(change.range.end).unwrap();
        for (now, before) in model[range.clone()]
            .chunks(4096)
            .zip(rebuilt[range.clone()].chunks(4096))
        {
            assert!(now != before, "an unchanged block is not a change");
        }
        match change.kind {
            ChangeKind::Zero => rebuilt[range].fill(0),
            ChangeKind::Data => rebuilt[range.clone()].copy_from_slice(&model[range]),
        }
        (last_end, last_kind) = (change.range.end, Some(change.kind));
    }
    assert!(rebuilt == model, "the changes are complete");
}

#[test]
fn behaves_like_a_vector_of_bytes() {
    for seed in 0..12 {
        let mut random = Rng::new(seed);
        let base_len = 1 + random.below(400 * BLOCK);
        let (base, base_bytes) = sparse_base(&mut random, base_len);
        let len = base_len
            + if seed % 3 == 0 {
                random.below(50 * BLOCK)
            } else {
                0
            };
        let dir = tempfile::tempdir().unwrap();
        // Some seeds keep everything in memory, some spill after 1 MiB, some spill everything.
        let limit = [u64::MAX, 1 << 20, 0][usize::try_from(seed % 3).unwrap()];
        let delta = Delta::with_limit(base, len, limit, dir.path());
        let mut model = base_bytes.clone();
        model.resize(usize::try_from(len).unwrap(), 0);
        assert!(delta.changes().unwrap().is_empty());

        for step in 0..400 {
            let start = random.below(len);
            let most = [100, 3 * BLOCK, 40 * BLOCK][usize::try_from(random.below(3)).unwrap()];
            let (start, end) = if random.below(3) == 0 {
                let start = start / BLOCK * BLOCK;
                (start, (start + (1 + random.below(8)) * BLOCK).min(len))
            } else {
                (start, (start + random.below(most)).min(len))
            };
            let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
            match random.below(4) {
                0 => {
                    model[range].fill(0);
                    delta.write_zeros(start, end - start).unwrap();
                }
                1 => {
                    model[range.clone()].fill(0);
                    delta.write_at(start, &model[range]).unwrap();
                }
                2 => {
                    // What the base has: a block is no change once all of it is as before.
                    let below = range.start.min(base_bytes.len())..range.end.min(base_bytes.len());
                    model[below.clone()].copy_from_slice(&base_bytes[below.clone()]);
                    delta
                        .write_at(start.min(base_len), &base_bytes[below])
                        .unwrap();
                }
                _ => {
                    random.fill(&mut model[range.clone()]);
                    delta.write_at(start, &model[range]).unwrap();
                }
            }
            if step % 40 == 0 {
                check(&delta, &model, &base_bytes);
            }
        }
        check(&delta, &model, &base_bytes);
    }
}

#[test]
fn writing_what_is_there_is_no_change() {
    let mut random = Rng::new(7);
    let (base, bytes) = sparse_base(&mut random, 100 * BLOCK + 77);
    let delta = Delta::new(base);
    delta.write_at(0, &bytes).unwrap();
    assert_eq!(delta.changes().unwrap(), []);
}

#[test]
fn zeros_take_no_room_and_stay_holes() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 40).unwrap();
    let base = FileDevice::with(file, "a hole".as_ref(), false).unwrap();
    let delta = Delta::new(Arc::new(base));
    delta.write_at(12345, &vec![0; 100_000]).unwrap();
    delta.write_zeros(1, (1 << 40) - 1).unwrap();
    assert_eq!(delta.stored_bytes(), 0);
    assert_eq!(delta.next_data(0).unwrap(), None);
    delta.write_at(5 * BLOCK + 1, b"x").unwrap();
    assert_eq!(delta.next_data(1).unwrap(), Some(5 * BLOCK..6 * BLOCK));
    assert_eq!(delta.stored_bytes(), BLOCK);
    delta.write_zeros(5 * BLOCK, BLOCK).unwrap();
    assert_eq!(delta.stored_bytes(), 0);
}

#[test]
fn a_range_outside_is_refused_and_changes_nothing() {
    let delta = Delta::new(Arc::new(MemoryDevice::new(vec![1; 5000])));
    for (offset, len) in [(4999, 2), (5001, 0), (u64::MAX, 2)] {
        let buf = vec![0; usize::try_from(len).unwrap()];
        let refused = |result| matches!(result, Err(Error::OutOfRange { .. }));
        assert!(refused(delta.write_at(offset, &buf)));
        assert!(refused(delta.write_zeros(offset, len)));
        assert!(refused(delta.read_at(offset, &mut buf.clone())));
    }
    assert_eq!(delta.changes().unwrap(), []);
}

#[test]
fn a_missing_temporary_folder_is_an_error_that_names_it() {
    let base = Arc::new(MemoryDevice::new(vec![0; 1 << 20]));
    let delta = Delta::with_limit(base, 1 << 20, 0, "/nonexistent/folder".as_ref());
    let error = delta.write_at(0, b"data").unwrap_err();
    assert!(error.to_string().contains("/nonexistent/folder"), "{error}");
}

/// Prints rates: `cargo test -p imgasm-block delta::rates -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn rates() {
    let len: u64 = 400 << 20;
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    let base = Arc::new(FileDevice::with(file, "a hole".as_ref(), false).unwrap());
    let piece = vec![7; 4096];
    for (what, limit) in [("memory", u64::MAX), ("64 MiB, then a file", 64 << 20)] {
        let delta = Delta::with_limit(base.clone(), len, limit, &std::env::temp_dir());
        let start = Instant::now();
        for block in 0..(200 << 20) / BLOCK {
            delta.write_at(block * BLOCK, &piece).unwrap();
        }
        let written = start.elapsed();
        let changes = delta.changes().unwrap();
        assert_eq!(changes.len(), 1);
        println!(
            "{what}: 200 MiB written in {written:?}, changes after {:?}",
            start.elapsed()
        );
    }
}
