//! What a library says of itself (System V ABI, "Program Header" and "Dynamic Section"), read as
//! ldconfig reads it.

use crate::Arch;
use imgasm_fs::{FileSystem, NodeId, Result};

/// The flags of the cache: for the C library that all are for now, and for a processor
/// (`FLAG_ELF_LIBC6`, `FLAG_X8664_LIB64`, …).
const LIBC6: u32 = 0x0003;
const X8664_LIB64: u32 = 0x0300;
const X8664_LIBX32: u32 = 0x0800;
const ARM_LIBHF: u32 = 0x0900;
const AARCH64_LIB64: u32 = 0x0a00;
const ARM_LIBSF: u32 = 0x0b00;

/// `e_machine`
const EM_386: u16 = 3;
const EM_ARM: u16 = 40;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
/// `e_flags` of 32-bit ARM: the version of the interface, and how numbers with a point are passed.
const EF_ARM_EABIMASK: u32 = 0xff00_0000;
const EF_ARM_EABI_VER5: u32 = 0x0500_0000;
const EF_ARM_ABI_FLOAT_SOFT: u32 = 0x200;
const EF_ARM_ABI_FLOAT_HARD: u32 = 0x400;

const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

/// The most bytes of a table that are read.
const MAX_TABLE: u64 = 4 << 20;
/// The longest name that is looked for the end of.
const MAX_NAME: u64 = 4096;

/// A library.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Library {
    /// What it is for.
    pub(super) flags: u32,
    /// How programs call it, if it says so.
    pub(super) soname: Option<Vec<u8>>,
}

/// Which of the two forms a file has.
#[derive(Clone, Copy)]
struct Class {
    is_64: bool,
}

impl Class {
    /// The length of an ELF header, of a program header, and of an entry of the dynamic section.
    const fn lengths(self) -> (u64, usize, usize) {
        if self.is_64 {
            (64, 56, 16)
        } else {
            (52, 32, 8)
        }
    }

    /// A number of the file's own width.
    fn word(self, bytes: &[u8], at: usize) -> u64 {
        if self.is_64 {
            u64::from(half(bytes, at)) | u64::from(half(bytes, at + 4)) << 32
        } else {
            half(bytes, at).into()
        }
    }
}

/// A number of 32 bits; 0 behind the end.
fn half(bytes: &[u8], at: usize) -> u32 {
    let quarter = |at| u32::from(quarter(bytes, at));
    quarter(at) | quarter(at + 2) << 16
}

/// A number of 16 bits; 0 behind the end.
fn quarter(bytes: &[u8], at: usize) -> u16 {
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or_default());
    byte(at) | byte(at + 1) << 8
}

/// A file of the image.
struct File<'a> {
    fs: &'a dyn FileSystem,
    node: NodeId,
    size: u64,
}

impl File<'_> {
    /// Up to `len` bytes from `offset` on; fewer at the end of the file.
    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let len = len.min(self.size.saturating_sub(offset)).min(MAX_TABLE);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        let mut done = 0;
        while done < bytes.len() {
            let count = self
                .fs
                .read_at(self.node, offset + done as u64, &mut bytes[done..])?;
            if count == 0 {
                break;
            }
            done += count;
        }
        bytes.truncate(done);
        Ok(bytes)
    }
}

/// Reads a regular file; `None` if it is no library for a machine of this architecture.
pub(super) fn read(fs: &dyn FileSystem, node: NodeId, arch: Arch) -> Result<Option<Library>> {
    let size = fs.metadata(node)?.size;
    let file = File { fs, node, size };
    let header = file.read(0, 64)?;
    let is_elf = header.starts_with(b"\x7fELF") && header.get(5) == Some(&1);
    let class = match header.get(4) {
        Some(1) => Class { is_64: false },
        Some(2) => Class { is_64: true },
        _ => return Ok(None),
    };
    let (header_len, program_len, dynamic_len) = class.lengths();
    if !is_elf || (header.len() as u64) < header_len || quarter(&header, 16) != ET_DYN {
        return Ok(None);
    }
    let Some(flags) = flags(&header, class, arch) else {
        return Ok(None);
    };
    let offset = class.word(&header, if class.is_64 { 32 } else { 28 });
    let count = usize::from(quarter(&header, if class.is_64 { 56 } else { 44 }));
    let programs = file.read(offset, (count * program_len) as u64)?;
    // A table that is cut short is no table.
    if offset > size || programs.len() < count * program_len {
        return Ok(None);
    }
    let programs = programs.chunks_exact(program_len);
    let segments: Vec<_> = programs.map(|bytes| Segment::of(bytes, class)).collect();
    let dynamic = segments.iter().rev().find(|one| one.kind == PT_DYNAMIC);
    let Some(dynamic) = dynamic.filter(|one| one.len > 0 && one.offset <= size) else {
        return Ok(None);
    };
    let dynamic = file.read(dynamic.offset, dynamic.len)?;
    let half_len = dynamic_len / 2;
    let entries: Vec<_> = dynamic
        .chunks_exact(dynamic_len)
        .map(|bytes| (class.word(bytes, 0), class.word(bytes, half_len)))
        .take_while(|(tag, _)| *tag != DT_NULL)
        .collect();
    let value = |wanted| {
        let mut entries = entries.iter();
        entries
            .find(|(tag, _)| *tag == wanted)
            .map(|(_, value)| *value)
    };
    let Some(strings) = value(DT_STRTAB) else {
        return Ok(None);
    };
    let soname = match value(DT_SONAME) {
        None => None,
        Some(name) => {
            let mut loaded = segments.iter().filter(|one| one.kind == PT_LOAD);
            let segment = loaded.find(|one| {
                strings
                    .checked_sub(one.address)
                    .is_some_and(|below| below < one.len)
            });
            let shift = segment.map_or(0, |one| one.address.wrapping_sub(one.offset));
            let at = strings.wrapping_sub(shift).wrapping_add(name);
            if at > size {
                return Ok(None);
            }
            let mut name = file.read(at, MAX_NAME)?;
            let end = name.iter().position(|byte| *byte == 0);
            name.truncate(end.unwrap_or(name.len()));
            Some(name)
        }
    };
    Ok(Some(Library { flags, soname }))
}

/// A program header.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    /// Bytes in the file.
    len: u64,
}

impl Segment {
    fn of(bytes: &[u8], class: Class) -> Self {
        let at = if class.is_64 { [8, 16, 32] } else { [4, 8, 16] };
        let [offset, address, len] = at.map(|at| class.word(bytes, at));
        Self {
            kind: half(bytes, 0),
            offset,
            address,
            len,
        }
    }
}

/// The flags of a library that the loader of this architecture knows.
fn flags(header: &[u8], class: Class, arch: Arch) -> Option<u32> {
    let own = half(header, 36);
    let float = match own & EF_ARM_EABIMASK {
        EF_ARM_EABI_VER5 if own & EF_ARM_ABI_FLOAT_HARD != 0 => ARM_LIBHF,
        EF_ARM_EABI_VER5 if own & EF_ARM_ABI_FLOAT_SOFT != 0 => ARM_LIBSF,
        _ => 0,
    };
    let flag = match (arch, quarter(header, 18), class.is_64) {
        (Arch::X86_64, EM_X86_64, true) => X8664_LIB64,
        (Arch::X86_64, EM_X86_64, false) => X8664_LIBX32,
        (Arch::X86_64, EM_386, false) => 0,
        (Arch::Arm64, EM_AARCH64, true) => AARCH64_LIB64,
        (Arch::Arm64, EM_ARM, false) => float,
        _ => return None,
    };
    Some(LIBC6 | flag)
}
