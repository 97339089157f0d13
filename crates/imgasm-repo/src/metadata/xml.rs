//! XML, read once from the beginning to the end.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// How deep elements may lie in each other.
const MAX_DEPTH: usize = 32;
/// The most bytes of a text.
const MAX_TEXT: usize = 1 << 20;

/// What is done with the elements of a file. Names come without their prefixes.
pub(super) trait Visitor {
    /// An element begins.
    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), String>;
    /// An element ends, which had this text behind the last element in it.
    fn close(&mut self, name: &str, text: &str) -> Result<(), String>;
}

/// The attributes of an element.
pub(super) struct Attributes<'e>(&'e BytesStart<'e>);

impl Attributes<'_> {
    /// The value of an attribute, whatever the prefix of its name.
    pub(super) fn get(&self, name: &str) -> Result<Option<Cow<'_, str>>, String> {
        let [value] = self.all([name])?;
        Ok(value)
    }

    /// The values of some attributes, whatever the prefixes of their names.
    pub(super) fn all<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Cow<'_, str>>; N], String> {
        let mut values = [const { None }; N];
        for attribute in self.0.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let name = attribute.key.local_name();
            let Some(index) = names.iter().position(|wanted| *wanted == name.as_ref()) else {
                continue;
            };
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            values[index] = Some(value.map_err(|error| error.to_string())?);
        }
        Ok(values)
    }

    /// The value of an attribute that must be there.
    pub(super) fn wanted(&self, name: &str) -> Result<Cow<'_, str>, String> {
        self.get(name)?
            .ok_or_else(|| format!("an element has no `{name}`"))
    }
}

/// Reads a file whose outermost element has this name.
///
/// # Errors
/// What is wrong with the file, and where.
pub(super) fn read(
    reader: impl BufRead,
    root: &str,
    visitor: &mut impl Visitor,
) -> Result<(), String> {
    let mut reader = Reader::from_reader(Rationed {
        inner: reader,
        left: 0,
    });
    let result = read_events(&mut reader, root, visitor);
    result.map_err(|problem| format!("{problem}, at byte {}", reader.buffer_position()))
}

/// What gives no more bytes than one event may have, so that no event is collected that is longer.
struct Rationed<R> {
    inner: R,
    left: usize,
}

impl<R: BufRead> Read for Rationed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Rationed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buf = self.inner.fill_buf()?;
        if self.left == 0 && !buf.is_empty() {
            let problem = format!("a text or an element has more than {MAX_TEXT} bytes");
            return Err(io::Error::other(problem));
        }
        Ok(&buf[..buf.len().min(self.left)])
    }

    fn consume(&mut self, count: usize) {
        self.left -= count;
        self.inner.consume(count);
    }
}

fn read_events<R: BufRead>(
    reader: &mut Reader<Rationed<R>>,
    root: &str,
    visitor: &mut impl Visitor,
) -> Result<(), String> {
    let (mut buffer, mut text, mut depth) = (Vec::new(), String::new(), 0_usize);
    let mut is_begun = false;
    loop {
        buffer.clear();
        reader.get_mut().left = MAX_TEXT;
        let event = reader.read_event_into(&mut buffer);
        let event = event.map_err(|error| error.to_string())?;
        if let Event::Start(element) | Event::Empty(element) = &event
            && !is_begun
        {
            let name = element.local_name();
            if name.as_ref() != root {
                return Err(format!(
                    "it begins with `{}`, not with `{root}`",
                    name.as_ref()
                ));
            }
            is_begun = true;
        }
        match event {
            Event::Start(element) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("elements lie more than {MAX_DEPTH} deep"));
                }
                text.clear();
                visitor.open(element.local_name().as_ref(), &Attributes(&element))?;
            }
            Event::Empty(element) => {
                text.clear();
                let name = element.local_name();
                visitor.open(name.as_ref(), &Attributes(&element))?;
                visitor.close(name.as_ref(), "")?;
            }
            Event::End(element) => {
                depth = depth.saturating_sub(1);
                visitor.close(element.local_name().as_ref(), &text)?;
                text.clear();
            }
            Event::Text(more) => text.push_str(&more),
            Event::CData(more) => text.push_str(&more),
            Event::GeneralRef(reference) => text.push_str(&entity(&reference)?),
            Event::Eof if depth == 0 && is_begun => return Ok(()),
            Event::Eof => return Err("it is cut short".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
        if text.len() > MAX_TEXT {
            return Err(format!("a text has more than {MAX_TEXT} bytes"));
        }
    }
}

/// What a reference stands for: a character, or one of the five that XML itself knows.
fn entity(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    let character = reference.resolve_char_ref();
    if let Some(character) = character.map_err(|error| error.to_string())? {
        return Ok(character.to_string());
    }
    let name: &str = reference;
    quick_xml::escape::resolve_predefined_entity(name)
        .map(str::to_owned)
        .ok_or_else(|| format!("`&{name};` is not known"))
}
