//! The packets that keys and signatures consist of (RFC 9580, section 4).

use num_bigint::BigUint;

use super::{Result, malformed};

/// Types of packets.
pub(super) mod tag {
    pub const SIGNATURE: u8 = 2;
    pub const PUBLIC_KEY: u8 = 6;
    pub const USER_ID: u8 = 13;
    pub const PUBLIC_SUBKEY: u8 = 14;
    pub const USER_ATTRIBUTE: u8 = 17;
}

/// A packet: its type and its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// See [`tag`].
    pub tag: u8,
    /// All that follows type and length.
    pub body: &'a [u8],
}

/// Takes a sequence of packets apart. Lengths in parts, which only encrypted data needs, are an
/// error.
pub(super) fn packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>> {
    let mut fields = Fields { rest: bytes };
    let mut packets = Vec::new();
    while !fields.rest.is_empty() {
        let first = fields.u8()?;
        if first & 0x80 == 0 {
            return Err(malformed("there is no packet where one must be"));
        }
        let (tag, len) = if first & 0x40 != 0 {
            (first & 0x3f, fields.length()?)
        } else {
            let len = match first & 3 {
                0 => u32::from(fields.u8()?),
                1 => u32::from(fields.u16()?),
                2 => fields.u32()?,
                _ => return Err(malformed("a packet has no length")),
            };
            ((first >> 2) & 0xf, len)
        };
        let body = fields.take(len)?;
        packets.push(Packet { tag, body });
    }
    Ok(packets)
}

/// What is left of a packet while its fields are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    /// The bytes that were not read yet.
    pub rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The next bytes.
    pub fn take(&mut self, len: impl TryInto<usize>) -> Result<&'a [u8]> {
        let taken = len
            .try_into()
            .ok()
            .and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) = taken.ok_or_else(|| malformed("a packet is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes
            .try_into()
            .map_err(|_| malformed("a packet is cut short"))
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.number()?))
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.number()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.number()?))
    }

    /// A length as packets and subpackets have it (RFC 9580, section 4.2.1).
    pub fn length(&mut self) -> Result<u32> {
        Ok(match self.u8()? {
            len @ 0..=191 => u32::from(len),
            len @ 192..=223 => {
                let low = u32::from(self.u8()?);
                ((u32::from(len) - 192) << 8) + low + 192
            }
            255 => self.u32()?,
            _ => return Err(malformed("a packet comes in parts")),
        })
    }

    /// A number of any size, with its length in bits before it (RFC 9580, section 3.2).
    pub fn mpi(&mut self) -> Result<&'a [u8]> {
        let bits = u32::from(self.u16()?);
        self.take(bits.div_ceil(8))
    }

    /// The same, as a number.
    pub fn integer(&mut self) -> Result<BigUint> {
        Ok(BigUint::from_bytes_be(self.mpi()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_headers() {
        let bytes = [0x99, 0, 2, 7, 8, 0xc2, 1, 9, 0x88, 0];
        let found: Vec<_> = packets(&bytes).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|packet| (packet.tag, packet.body))
            .collect();
        assert_eq!(found, [(6, &[7, 8][..]), (2, &[9]), (2, &[])]);
        for bad in [
            &[0x99, 0][..],
            &[0x99, 0, 9, 1],
            &[0x01],
            &[0xc2, 224, 1],
            &[0x8b, 1],
        ] {
            assert!(packets(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths() {
        let length = |bytes: &[u8]| Fields { rest: bytes }.length().ok();
        assert_eq!(length(&[191]), Some(191));
        assert_eq!(length(&[192, 0]), Some(192));
        assert_eq!(length(&[223, 255]), Some(8383));
        assert_eq!(length(&[255, 0, 1, 0, 0]), Some(65536));
        assert_eq!(length(&[255, 0, 1]), None);
    }
}
