//! A disk for QEMU: a block device served over Unix sockets by the NBD protocol (the protocol's
//! `doc/proto.md`: "Fixed newstyle negotiation", "Transmission phase"), to one client at a time.
//!
//! So the machine runs on the delta that the build made, whatever the image's container, and its
//! writes go into that delta and nowhere else.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

use imgasm_block::BlockDevice;

const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 2;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;

const HAS_FLAGS: u16 = 1;
const SEND_FLUSH: u16 = 1 << 2;
const SEND_TRIM: u16 = 1 << 5;
const SEND_WRITE_ZEROES: u16 = 1 << 6;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_TRIM: u16 = 4;
const CMD_WRITE_ZEROES: u16 = 6;

const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// The most bytes in one request ("Block size constraints": the most that a client may send if
/// nothing else was agreed).
const PAYLOAD_LIMIT: u32 = 32 << 20;

/// The most bytes of an option that is read.
const OPTION_LIMIT: u32 = 64 << 10;

/// Serves `device` through these connections, as long as this process runs.
pub(super) fn serve(streams: Receiver<UnixStream>, device: Arc<dyn BlockDevice>) -> io::Result<()> {
    thread::Builder::new()
        .name("disk".to_owned())
        .spawn(move || {
            for stream in streams {
                // The client sees that the connection ends; there is nobody else to report to.
                if let Err(error) = Session::new(stream, &*device).run() {
                    tracing::debug!("a disk of the machine: {error}");
                }
            }
        })?;
    Ok(())
}

struct Session<'a> {
    stream: UnixStream,
    device: &'a dyn BlockDevice,
}

impl<'a> Session<'a> {
    fn new(stream: UnixStream, device: &'a dyn BlockDevice) -> Self {
        Self { stream, device }
    }

    fn run(mut self) -> io::Result<()> {
        if self.negotiate()? {
            while self.answer()? {}
        }
        Ok(())
    }

    fn u16(&mut self) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.stream.read_exact(&mut bytes)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.stream.read_exact(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Agrees with the client on the only disk; gives whether it continues.
    fn negotiate(&mut self) -> io::Result<bool> {
        let mut hello = Vec::new();
        hello.extend(INIT_MAGIC.to_be_bytes());
        hello.extend(OPTION_MAGIC.to_be_bytes());
        hello.extend((FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
        self.stream.write_all(&hello)?;
        let without_padding = self.u32()? & u32::from(FLAG_NO_ZEROES) != 0;
        loop {
            if self.u64()? != OPTION_MAGIC {
                return Err(invalid("an option without its mark"));
            }
            let option = self.u32()?;
            let len = self.u32()?;
            if len > OPTION_LIMIT {
                return Err(invalid("an option that is too long"));
            }
            let mut data = vec![0; usize::try_from(len).map_err(|_| invalid("its length"))?];
            self.stream.read_exact(&mut data)?;
            match option {
                OPT_EXPORT_NAME => {
                    let mut answer = self.export();
                    if !without_padding {
                        answer.extend([0; 124]);
                    }
                    self.stream.write_all(&answer)?;
                    return Ok(true);
                }
                OPT_GO | OPT_INFO => {
                    let mut info = INFO_EXPORT.to_be_bytes().to_vec();
                    info.extend(self.export());
                    self.reply(option, REP_INFO, &info)?;
                    self.reply(option, REP_ACK, &[])?;
                    if option == OPT_GO {
                        return Ok(true);
                    }
                }
                OPT_ABORT => {
                    self.reply(option, REP_ACK, &[])?;
                    return Ok(false);
                }
                _ => self.reply(option, REP_ERR_UNSUP, &[])?,
            }
        }
    }

    /// The size of the disk and what can be done with it.
    fn export(&self) -> Vec<u8> {
        let mut bytes = self.device.len().to_be_bytes().to_vec();
        let flags = HAS_FLAGS | SEND_FLUSH | SEND_TRIM | SEND_WRITE_ZEROES;
        bytes.extend(flags.to_be_bytes());
        bytes
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let len = u32::try_from(data.len()).map_err(|_| invalid("a reply that is too long"))?;
        let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes.extend(data);
        self.stream.write_all(&bytes)
    }

    /// Answers one request; gives whether there may be another.
    fn answer(&mut self) -> io::Result<bool> {
        let magic = match self.u32() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            magic => magic?,
        };
        if magic != REQUEST_MAGIC {
            return Err(invalid("a request without its mark"));
        }
        let _flags = self.u16()?;
        let command = self.u16()?;
        let cookie = self.u64()?;
        let offset = self.u64()?;
        let len = self.u32()?;
        let carries = matches!(command, CMD_READ | CMD_WRITE);
        if carries && len > PAYLOAD_LIMIT {
            return Err(invalid("a request that is too long"));
        }
        let payload = if carries { len } else { 0 };
        let mut data = vec![0; usize::try_from(payload).map_err(|_| invalid("its length"))?];
        let error = match command {
            CMD_DISC => return Ok(false),
            CMD_READ => code(self.device.read_at(offset, &mut data)),
            CMD_WRITE => {
                self.stream.read_exact(&mut data)?;
                code(self.device.write_at(offset, &data))
            }
            CMD_TRIM | CMD_WRITE_ZEROES => code(self.device.write_zeros(offset, u64::from(len))),
            CMD_FLUSH => 0,
            _ => EINVAL,
        };
        let mut reply = SIMPLE_REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend(error.to_be_bytes());
        reply.extend(cookie.to_be_bytes());
        if command == CMD_READ && error == 0 {
            reply.extend(data);
        }
        self.stream.write_all(&reply)?;
        Ok(true)
    }
}

fn code(done: imgasm_block::Result<()>) -> u32 {
    match done {
        Ok(()) => 0,
        Err(imgasm_block::Error::OutOfRange { .. }) => EINVAL,
        Err(error) => {
            tracing::warn!("a disk of the machine: {error}");
            EIO
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the client sent {what}"),
    )
}
