//! Extended attributes in the notation of the tools that show them.

use imgasm_fs::text::value_text;
use imgasm_guest::capabilities;

/// The value of an attribute as text: capabilities as `getcap` writes them, access control lists as
/// `getfacl` does, `SELinux` labels without the NUL behind them; anything else as it is. A value that
/// is not what its name says is shown like any other.
pub(super) fn text(name: &[u8], value: &[u8]) -> String {
    let decoded = match name {
        b"security.capability" => capability_sets(value),
        b"security.selinux" => value
            .strip_suffix(b"\0")
            .filter(|label| !label.contains(&0))
            .map(value_text),
        b"system.posix_acl_access" | b"system.posix_acl_default" => access_list(value),
        _ => None,
    };
    decoded.unwrap_or_else(|| value_text(value))
}

/// A `struct vfs_ns_cap_data` of revision 2 or 3 (`linux/capability.h`): the revision with the
/// effective bit, permitted and inheritable capabilities 0-31, those from 32 on, and in revision 3
/// the user that is root in the namespace.
fn capability_sets(value: &[u8]) -> Option<String> {
    const EFFECTIVE: u32 = 1;
    let (words, rest) = value.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let (magic, sets, root) = match *words.as_slice() {
        [magic, ref sets @ ..] if magic >> 24 == 2 && sets.len() == 4 => (magic, sets, None),
        [magic, ref sets @ .., root] if magic >> 24 == 3 && sets.len() == 4 => {
            (magic, sets, Some(root))
        }
        _ => return None,
    };
    if !rest.is_empty() {
        return None;
    }
    let set = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    let (permitted, inheritable) = (set(sets[0], sets[2]), set(sets[1], sets[3]));
    let e = if magic & EFFECTIVE == 0 { "" } else { "e" };
    let mut text = Vec::new();
    for (members, flags) in [
        (permitted & inheritable, "ip"),
        (permitted & !inheritable, "p"),
        (inheritable & !permitted, "i"),
    ] {
        let names: Vec<String> = (0..u64::BITS)
            .filter(|number| members >> number & 1 == 1)
            .map(capability_name)
            .collect();
        if !names.is_empty() {
            text.push(format!("{}={e}{flags}", names.join(",")));
        }
    }
    if text.is_empty() {
        text.push("=".to_owned());
    }
    text.extend(root.map(|root| format!("[rootid={root}]")));
    Some(text.join(" "))
}

fn capability_name(number: u32) -> String {
    let known = usize::try_from(number)
        .ok()
        .and_then(|n| capabilities::NAMES.get(n));
    known.map_or_else(|| number.to_string(), |name| format!("cap_{name}"))
}

/// The form that `getxattr` gives (`linux/posix_acl_xattr.h`): version 2, then entries of tag,
/// permissions and id.
fn access_list(value: &[u8]) -> Option<String> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
        return None;
    }
    let entries = entries.iter().map(|entry| {
        let [tag, 0, permissions, 0, id @ ..] = *entry else {
            return None;
        };
        let id = u32::from_le_bytes(id);
        let whom = match tag {
            0x01 => "user:".to_owned(),
            0x02 => format!("user:{id}"),
            0x04 => "group:".to_owned(),
            0x08 => format!("group:{id}"),
            0x10 => "mask:".to_owned(),
            0x20 => "other:".to_owned(),
            _ => return None,
        };
        let letter = |bit: u8, letter: char| if permissions & bit == 0 { '-' } else { letter };
        let (r, w, x) = (letter(4, 'r'), letter(2, 'w'), letter(1, 'x'));
        Some(format!("{whom}:{r}{w}{x}"))
    });
    Some(entries.collect::<Option<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_attributes_are_readable() {
        // As `setcap cap_net_raw,cap_bpf=ep` stores it.
        let value = hex::decode("0100000200200000000000008000000000000000").unwrap();
        let shown = text(b"security.capability", &value);
        assert_eq!(shown, "cap_net_raw,cap_bpf=ep");
        let label = b"system_u:object_r:etc_t:s0\0";
        assert_eq!(
            text(b"security.selinux", label),
            "system_u:object_r:etc_t:s0"
        );
        // As `setfacl -m u:1000:r` on a file of mode 0640 stores it.
        let value = "0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000000ffffffff";
        let value = hex::decode(value).unwrap();
        assert_eq!(
            text(b"system.posix_acl_access", &value),
            "user::rw-,user:1000:r--,group::r--,mask::r--,other::---"
        );
    }

    #[test]
    fn what_is_no_such_attribute_is_shown_as_it_is() {
        assert_eq!(text(b"security.capability", b"abc"), "abc");
        assert_eq!(text(b"system.posix_acl_access", b"\xff"), "0s/w==");
        assert_eq!(text(b"user.note", b"x\0"), "x\0");
    }
}
