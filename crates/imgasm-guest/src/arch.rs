//! Which processor the programs of a root filesystem are for.

use super::known_path;
use imgasm_fs::FileSystem;
use imgasm_fs::tree::{self, LastLink, Result};

/// A processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64", alias = "amd64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "arm64", alias = "aarch64")]
    Arm64,
    /// 32-bit x86.
    #[serde(rename = "i386")]
    I386,
    /// 32-bit ARM.
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
}

/// Programs that almost every root filesystem has.
const PROGRAMS: [&str; 5] = [
    "/sbin/init",
    "/bin/sh",
    "/usr/bin/env",
    "/bin/ls",
    "/sbin/ldconfig",
];

/// Bytes of an ELF header up to the end of `e_machine`.
const HEADER_LEN: usize = 20;

impl Arch {
    /// The architecture of the first of these programs that is an ELF file; `None` if there is
    /// none.
    pub fn detect(fs: &dyn FileSystem) -> Result<Option<Self>> {
        for program in PROGRAMS {
            let path = known_path(program);
            let Ok((node, real)) = tree::resolve(fs, &path, LastLink::Follow) else {
                continue;
            };
            let mut header = [0; HEADER_LEN];
            let read = fs.read_at(node, 0, &mut header);
            let read = read.map_err(|source| tree::Error::FileSystem {
                action: "read",
                path: real,
                source,
            })?;
            if read == HEADER_LEN
                && let Some(arch) = Self::from_elf(&header)
            {
                return Ok(Some(arch));
            }
        }
        Ok(None)
    }

    /// The architecture that an ELF header names (System V ABI, "ELF Header": `EI_CLASS`,
    /// `EI_DATA`, `e_machine`).
    fn from_elf(header: &[u8; HEADER_LEN]) -> Option<Self> {
        if !header.starts_with(b"\x7fELF") {
            return None;
        }
        let machine = match header[5] {
            1 => u16::from_le_bytes([header[18], header[19]]),
            2 => u16::from_be_bytes([header[18], header[19]]),
            _ => return None,
        };
        match (machine, header[4]) {
            (62, 2) => Some(Self::X86_64),
            (183, _) => Some(Self::Arm64),
            (3, _) => Some(Self::I386),
            (40, _) => Some(Self::Arm),
            (243, 2) => Some(Self::Riscv64),
            _ => None,
        }
    }

    /// The name, which is EC2's for those that EC2 has.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
            Self::I386 => "i386",
            Self::Arm => "arm",
            Self::Riscv64 => "riscv64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elf_headers() {
        let header = |class, data, machine: [u8; 2]| {
            let mut header = [0; HEADER_LEN];
            header[..4].copy_from_slice(b"\x7fELF");
            header[4] = class;
            header[5] = data;
            header[18..].copy_from_slice(&machine);
            Arch::from_elf(&header)
        };
        assert_eq!(header(2, 1, [62, 0]), Some(Arch::X86_64));
        assert_eq!(header(2, 1, [183, 0]), Some(Arch::Arm64));
        assert_eq!(header(1, 1, [3, 0]), Some(Arch::I386));
        assert_eq!(header(2, 2, [0, 22]), None);
        assert_eq!(header(2, 7, [62, 0]), None);
        assert_eq!(Arch::from_elf(b"#!/bin/sh\nexec /bin/"), None);
    }
}
