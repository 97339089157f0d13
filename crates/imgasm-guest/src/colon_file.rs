//! A file of lines with fields between colons: `passwd`, `shadow`, `group`, `gshadow`, `subuid`.
//!
//! Format: passwd(5) and the like. What is not changed keeps its bytes.
//! [`Accounts`](crate::Accounts) reads such files, [`users`](crate::users) changes them.

/// The lines of such a file. A line's first field is its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColonFile {
    lines: Vec<Vec<u8>>,
}

impl ColonFile {
    /// Splits a file into its lines.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut lines: Vec<Vec<u8>> = bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        Self { lines }
    }

    /// The file, each line with its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines
            .iter()
            .flat_map(|line| line.iter().copied().chain([b'\n']))
            .collect()
    }

    /// The fields of each line.
    pub fn rows(&self) -> impl Iterator<Item = Vec<&[u8]>> {
        self.lines.iter().map(|line| fields(line))
    }

    /// The fields of the first line with this key.
    pub fn row(&self, key: &str) -> Option<Vec<&[u8]>> {
        self.position(key).map(|at| fields(&self.lines[at]))
    }

    /// A field that holds a number.
    pub fn number(&self, key: &str, field: usize) -> Option<u32> {
        number(self.row(key)?.get(field)?)
    }

    /// All values of a field that are numbers, in the order of the lines.
    pub fn numbers(&self, field: usize) -> Vec<u32> {
        self.rows()
            .filter_map(|row| number(row.get(field)?))
            .collect()
    }

    /// Adds a line at the end.
    pub fn push(&mut self, fields: &[&str]) {
        self.lines.push(fields.join(":").into_bytes());
    }

    /// Puts a line in the place of the first one with the same key, or adds it at the end.
    pub fn put(&mut self, fields: &[&str]) {
        match fields.first().and_then(|key| self.position(key)) {
            Some(at) => self.lines[at] = fields.join(":").into_bytes(),
            None => self.push(fields),
        }
    }

    /// Removes all lines with this key; gives whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| fields(line)[0] != key.as_bytes());
        self.lines.len() < before
    }

    /// Gives a field of the first line with this key another value; gives whether there was such a
    /// field with a different value.
    pub fn set(&mut self, key: &str, field: usize, value: &[u8]) -> bool {
        let Some(at) = self.position(key) else {
            return false;
        };
        let mut row = fields(&self.lines[at]);
        match row.get_mut(field) {
            Some(old) if *old != value => *old = value,
            _ => return false,
        }
        self.lines[at] = row.join(&b':');
        true
    }

    /// Adds a name to a field that lists names between commas, once.
    pub fn add_to_list(&mut self, key: &str, field: usize, name: &str) -> bool {
        let Some(row) = self.row(key) else {
            return false;
        };
        let Some(&list) = row.get(field) else {
            return false;
        };
        if list
            .split(|byte| *byte == b',')
            .any(|member| member == name.as_bytes())
        {
            return false;
        }
        let longer = match list {
            [] => name.as_bytes().to_vec(),
            _ => [list, b",", name.as_bytes()].concat(),
        };
        self.set(key, field, &longer)
    }

    /// Removes a name from a field that lists names between commas; gives whether it was there.
    pub fn remove_from_list(&mut self, key: &str, field: usize, name: &str) -> bool {
        let Some(row) = self.row(key) else {
            return false;
        };
        let Some(&list) = row.get(field) else {
            return false;
        };
        let members: Vec<_> = list.split(|byte| *byte == b',').collect();
        let kept: Vec<_> = members
            .iter()
            .copied()
            .filter(|member| *member != name.as_bytes())
            .collect();
        let is_shorter = kept.len() < members.len();
        let shorter = kept.join(&b',');
        is_shorter && self.set(key, field, &shorter)
    }

    /// Sorts the names in a field that lists names between commas.
    pub fn sort_list(&mut self, key: &str, field: usize) {
        let row = self.row(key).unwrap_or_default();
        let Some(&list) = row.get(field) else {
            return;
        };
        let mut members: Vec<_> = list.split(|byte| *byte == b',').collect();
        members.sort_unstable();
        let sorted = members.join(&b',');
        self.set(key, field, &sorted);
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.lines
            .iter()
            .position(|line| fields(line)[0] == key.as_bytes())
    }
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').collect()
}

/// A field as a number, if it is one of 32 bits.
pub fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untouched_bytes_stay() {
        let bytes = b"root:x:0:0:\xff:/root:/bin/sh\n# odd\n\n+::::::\n";
        assert_eq!(ColonFile::parse(bytes).to_bytes(), bytes);
        assert_eq!(ColonFile::parse(b"").to_bytes(), b"");
    }

    #[test]
    fn a_missing_last_line_end_is_made_good() {
        let mut file = ColonFile::parse(b"a:1");
        file.push(&["b", "2"]);
        assert_eq!(file.to_bytes(), b"a:1\nb:2\n");
    }

    #[test]
    fn names_join_a_list_once() {
        let mut file = ColonFile::parse(b"wheel:x:10:\n");
        assert!(file.add_to_list("wheel", 3, "a"));
        assert!(file.add_to_list("wheel", 3, "b"));
        assert!(!file.add_to_list("wheel", 3, "a"));
        assert!(!file.add_to_list("none", 3, "a"));
        assert_eq!(file.to_bytes(), b"wheel:x:10:a,b\n");
    }
}
