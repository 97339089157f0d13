//! The places where a repository can be had: lists of mirrors and metalinks.

use super::repomd;
use super::xml::{self, Attributes, Visitor};
use imgasm_block::Digest;

/// How many places of a list are asked: the best ones.
const MOST_PLACES: usize = 30;

/// What a list of mirrors says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// The places, the best first.
    pub places: Vec<String>,
    /// The digests of which the repository's list of metadata must have one, where that is known: a
    /// mirror that has another is stale.
    pub repomd: Vec<Digest>,
}

/// Reads a list with a place on each line.
pub fn read_list(text: &str) -> Mirrors {
    let lines = text.lines().map(str::trim);
    let places = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Mirrors {
        places: places.take(MOST_PLACES).map(str::to_owned).collect(),
        repomd: Vec::new(),
    }
}

/// Reads a metalink (RFC 5854's forerunner, Metalink 3.0).
///
/// # Errors
/// What is wrong with it.
pub fn read_metalink(text: &str) -> Result<Mirrors, String> {
    let mut metalink = Metalink::default();
    xml::read(text.as_bytes(), "metalink", &mut metalink)?;
    // The order of those that are equally good is the list's own.
    metalink
        .places
        .sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
    let places = metalink.places.into_iter().map(|(_, place)| place);
    Ok(Mirrors {
        places: places.take(MOST_PLACES).collect(),
        repomd: metalink.digests,
    })
}

#[derive(Default)]
struct Metalink {
    is_repomd: bool,
    is_sha256: bool,
    preference: u32,
    places: Vec<(u32, String)>,
    digests: Vec<Digest>,
}

impl Visitor for Metalink {
    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        match name {
            "file" => self.is_repomd = attributes.get("name")?.as_deref() == Some("repomd.xml"),
            "hash" => self.is_sha256 = attributes.get("type")?.as_deref() == Some("sha256"),
            "url" => {
                let preference = attributes.get("preference")?;
                let preference = preference.and_then(|number| number.parse().ok());
                self.preference = preference.unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str, text: &str) -> Result<(), String> {
        let text = text.trim();
        match name {
            "hash" if self.is_repomd && self.is_sha256 => {
                let digest = text.parse();
                self.digests
                    .push(digest.map_err(|_| format!("`{text}` is no SHA-256"))?);
            }
            "url" if self.is_repomd => {
                let place = text.strip_suffix(repomd::PATH);
                let is_usable = ["http:", "https:", "file:"]
                    .iter()
                    .any(|scheme| text.starts_with(scheme));
                if let Some(place) = place.filter(|_| is_usable) {
                    self.places.push((self.preference, place.to_owned()));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_mirrors() {
        let list = read_list("# mirrors\nhttps://a/x\n\n https://b/x/ \n");
        assert_eq!(list.places, ["https://a/x", "https://b/x/"]);
        let digest = Digest::of(b"x");
        let text = format!(
            "<?xml version='1.0'?><metalink xmlns:mm0='x'><files><file name='repomd.xml'>\
             <verification><hash type='md5'>00</hash><hash type='sha256'>{digest}</hash></verification>\
             <resources><url protocol='rsync' preference='100'>rsync://c/repodata/repomd.xml</url>\
             <url preference='90'>https://a/x/repodata/repomd.xml</url>\
             <url preference='95'>https://b/?a=1&amp;b=2/repodata/repomd.xml</url></resources></file>\
             <file name='x'/></files></metalink>"
        );
        let metalink = read_metalink(&text).unwrap();
        assert_eq!(metalink.places, ["https://b/?a=1&b=2/", "https://a/x/"]);
        assert_eq!(metalink.repomd, [digest]);
        assert!(read_metalink("<metalink><files>").is_err());
    }
}
