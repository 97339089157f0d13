//! The chunk map: digests, updates, comparison, the streaming form and the file form.

use std::process::Command;

use imgasm_block::chunk_map_file::DecodeError;
use imgasm_block::{
    BlockDevice, CHUNK_BYTES, ChunkChange, ChunkMap, ChunkMapBuilder, Delta, FileDevice,
    MemoryDevice,
};
use imgasm_testkit::rng::Rng;

const CHUNK: usize = 512 << 10;

/// Chunks 0, 2 and 4 (the last, short) hold data; 1 and 3 are zeros.
fn sample() -> Vec<u8> {
    let mut bytes = vec![0; 4 * CHUNK + 1000];
    Rng::new(1).fill(&mut bytes[..CHUNK]);
    bytes[2 * CHUNK + 77] = 1;
    bytes[4 * CHUNK + 999] = 2;
    bytes
}

fn map_of(bytes: &[u8]) -> ChunkMap {
    ChunkMap::compute(&MemoryDevice::new(bytes.to_vec())).unwrap()
}

/// `sha256sum` of some bytes.
fn sha256sum(dir: &std::path::Path, bytes: &[u8]) -> String {
    let path = dir.join("bytes");
    std::fs::write(&path, bytes).unwrap();
    let out = Command::new("sha256sum").arg(&path).output().unwrap();
    String::from_utf8_lossy(&out.stdout)[..64].to_owned()
}

#[test]
fn digests_are_what_sha256sum_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = sample();
    let map = map_of(&bytes);
    bytes.resize(5 * CHUNK, 0);
    let indices: Vec<u64> = map.chunks().iter().map(|chunk| chunk.index).collect();
    assert_eq!(indices, [0, 2, 4]);
    let mut all = Vec::new();
    for chunk in map.chunks() {
        let start = usize::try_from(chunk.index * CHUNK_BYTES).unwrap();
        let expected = sha256sum(dir.path(), &bytes[start..start + CHUNK]);
        assert_eq!(chunk.digest.to_string(), expected);
        all.extend(hex::decode(expected).unwrap());
    }
    assert_eq!(map.digest().to_string(), sha256sum(dir.path(), &all));
    assert_eq!(map.device_len(), 4 * CHUNK_BYTES + 1000);
}

#[test]
fn a_sparse_file_gives_the_same_map_as_its_bytes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = sample();
    file.as_file()
        .set_len(u64::try_from(bytes.len()).unwrap())
        .unwrap();
    let device = FileDevice::open_writable(file.path()).unwrap();
    for start in [0, 2 * CHUNK, 4 * CHUNK] {
        let end = (start + CHUNK).min(bytes.len());
        device
            .write_at(u64::try_from(start).unwrap(), &bytes[start..end])
            .unwrap();
    }
    assert_eq!(ChunkMap::compute(&device).unwrap(), map_of(&bytes));
}

#[test]
fn updating_gives_what_computing_afresh_gives() {
    for seed in 0..20 {
        let mut random = Rng::new(seed);
        let base = sample();
        let base_map = map_of(&base);
        let len = base_map.device_len();
        let grown = len + random.below(2) * 3 * CHUNK_BYTES;
        let delta = Delta::grown(std::sync::Arc::new(MemoryDevice::new(base)), grown);
        for _ in 0..4 {
            let start = random.below(grown);
            let most = random.below(2 * CHUNK_BYTES).min(grown - start);
            if random.below(2) == 0 {
                delta.write_zeros(start, most).unwrap();
            } else {
                delta
                    .write_at(start, &vec![9; usize::try_from(most).unwrap()])
                    .unwrap();
            }
        }
        let changes = delta.changes().unwrap();
        let updated = base_map
            .updated(&delta, changes.into_iter().map(|c| c.range))
            .unwrap();
        assert_eq!(updated, ChunkMap::compute(&delta).unwrap(), "seed {seed}");
    }
}

#[test]
fn a_shorter_device_loses_its_tail() {
    let bytes = sample();
    for len in [3 * CHUNK, 2 * CHUNK + 100, 2 * CHUNK + 10, 0] {
        let short = MemoryDevice::new(bytes[..len].to_vec());
        let updated = map_of(&bytes).updated(&short, []).unwrap();
        assert_eq!(updated, map_of(&bytes[..len]));
    }
}

#[test]
fn changes_are_found_in_order() {
    let before = sample();
    let mut after = before.clone();
    after[10] ^= 1;
    after[CHUNK + 3] = 1;
    after[2 * CHUNK + 77] = 0;
    let (before, after) = (map_of(&before), map_of(&after));
    let data =
        |index| ChunkChange::Data(*after.chunks().iter().find(|c| c.index == index).unwrap());
    assert_eq!(
        after.changes_since(&before),
        [data(0), data(1), ChunkChange::Zero(2)]
    );
    assert_eq!(after.changes_since(&after), []);
    let nothing = map_of(&[]);
    assert_eq!(nothing.changes_since(&after), []);
    assert_eq!(after.changes_since(&nothing), [data(0), data(1), data(4)]);
}

#[test]
fn pieces_in_sequence_give_the_same_map() {
    let bytes = sample();
    for seed in 0..30 {
        let mut random = Rng::new(seed);
        let mut builder = ChunkMapBuilder::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = [100, 5000, 3 * CHUNK_BYTES][usize::try_from(seed % 3).unwrap()];
            let len = usize::try_from(1 + random.below(most))
                .unwrap()
                .min(rest.len());
            let (piece, following) = rest.split_at(len);
            if piece.iter().all(|&byte| byte == 0) && random.below(2) == 0 {
                builder.push_zeros(u64::try_from(len).unwrap());
            } else {
                builder.push(piece);
            }
            rest = following;
        }
        assert_eq!(builder.finish(), map_of(&bytes), "seed {seed}");
    }
}

#[test]
fn the_file_form_reads_back() {
    for bytes in [&sample()[..], &[]] {
        let map = map_of(bytes);
        assert_eq!(ChunkMap::decode(&map.encode()), Ok(map));
    }
}

#[test]
fn a_damaged_file_form_is_refused() {
    let good = map_of(&sample()).encode();
    for len in 0..good.len() {
        assert!(ChunkMap::decode(&good[..len]).is_err(), "cut off at {len}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(ChunkMap::decode(&bad).is_err(), "changed at {at}");
    }
    assert_eq!(ChunkMap::decode(b"IMGCHUNX"), Err(DecodeError::Magic));
    let mut huge = good.clone();
    huge[24..32].fill(0xff);
    assert!(matches!(
        ChunkMap::decode(&huge),
        Err(DecodeError::Length { .. })
    ));
}
