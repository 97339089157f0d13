//! Where commands read from and write to.

use std::cell::RefCell;
use std::rc::Rc;

use imgasm_fs::path::ImagePath;

/// The most that a script may have in a pipe or file at once, in bytes.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// How many descriptors there are beside the usual three.
pub(super) const OTHERS: usize = 7;

/// What a command reads: bytes, and how many of them were read.
#[derive(Debug, Clone, Default)]
pub(super) struct Input(Rc<RefCell<(Vec<u8>, usize)>>);

impl Input {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new((bytes, 0))))
    }

    /// All that is left.
    pub fn read_all(&self) -> Vec<u8> {
        let mut inner = self.0.borrow_mut();
        let rest = inner.0[inner.1..].to_vec();
        inner.1 = inner.0.len();
        rest
    }

    /// The next line with its end; `None` at the end.
    pub fn read_line(&self) -> Option<Vec<u8>> {
        let mut inner = self.0.borrow_mut();
        let rest = &inner.0[inner.1..];
        let line = rest.split_inclusive(|byte| *byte == b'\n').next()?.to_vec();
        inner.1 += line.len();
        Some(line)
    }
}

/// Where a command writes to.
#[derive(Debug, Clone)]
pub(super) enum Output {
    /// What is written is lost: nobody reads what a script says.
    Nowhere,
    /// A pipe, or what stands between `$(` and `)`.
    Pipe(Rc<RefCell<Vec<u8>>>),
    /// A file of the image, at this place; none if all is added at its end.
    File(ImagePath, Option<Rc<RefCell<usize>>>),
}

impl Output {
    pub fn pipe() -> (Self, Rc<RefCell<Vec<u8>>>) {
        let buffer = Rc::new(RefCell::new(Vec::new()));
        (Self::Pipe(buffer.clone()), buffer)
    }
}

/// The descriptors of a command.
#[derive(Debug, Clone)]
pub(super) struct Descriptors {
    pub input: Input,
    pub output: Output,
    pub errors: Output,
    /// Those from 3 to 9, which scripts keep things aside in.
    pub others: [Option<Output>; OTHERS],
}

impl Default for Descriptors {
    fn default() -> Self {
        Self {
            input: Input::default(),
            output: Output::Nowhere,
            errors: Output::Nowhere,
            others: [const { None }; OTHERS],
        }
    }
}
