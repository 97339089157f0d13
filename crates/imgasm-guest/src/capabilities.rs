//! Capabilities of files, from text to the attribute `security.capability`.

/// The name of the attribute.
pub const XATTR: &[u8] = b"security.capability";

/// Version 2 of the attribute (`VFS_CAP_REVISION_2`, linux/capability.h).
const REVISION_2: u32 = 0x0200_0000;
/// The flag that makes the capabilities effective from the start of the program
/// (`VFS_CAP_FLAGS_EFFECTIVE`).
const EFFECTIVE: u32 = 1;

/// The capabilities in the order of their numbers (linux/capability.h).
pub const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The three sets, one bit per capability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

/// The attribute's value for capabilities in the notation of `cap_from_text(3)`; `None` if the text
/// is not in that notation.
pub fn attribute(text: &str) -> Option<Vec<u8>> {
    let sets = parse(text)?;
    let magic = REVISION_2 | if sets.effective == 0 { 0 } else { EFFECTIVE };
    let half = |set: u64, shift: u32| u32::try_from(set >> shift & u64::from(u32::MAX));
    let mut value = magic.to_le_bytes().to_vec();
    for shift in [0, 32] {
        for set in [sets.permitted, sets.inheritable] {
            value.extend(half(set, shift).ok()?.to_le_bytes());
        }
    }
    Some(value)
}

fn parse(text: &str) -> Option<Sets> {
    let mut sets = Sets::default();
    for clause in text.split_ascii_whitespace() {
        let start = clause.find(['=', '+', '-'])?;
        let (names, actions) = clause.split_at(start);
        let bits = capabilities(names, actions.starts_with('='))?;
        let mut operator = '=';
        let mut is_empty = true;
        for c in actions.chars() {
            match c {
                '=' | '+' | '-' => {
                    operator = c;
                    if c == '=' {
                        // What was said about these before no longer applies.
                        sets.effective &= !bits;
                        sets.permitted &= !bits;
                        sets.inheritable &= !bits;
                        is_empty = false;
                    }
                }
                'e' | 'i' | 'p' => {
                    let set = match c {
                        'e' => &mut sets.effective,
                        'i' => &mut sets.inheritable,
                        _ => &mut sets.permitted,
                    };
                    if operator == '-' {
                        *set &= !bits;
                    } else {
                        *set |= bits;
                    }
                    is_empty = false;
                }
                _ => return None,
            }
        }
        if is_empty {
            return None;
        }
    }
    Some(sets)
}

/// The bits of a list of capabilities; an empty list before `=` means all.
fn capabilities(names: &str, may_be_empty: bool) -> Option<u64> {
    let all = (1 << NAMES.len()) - 1;
    if names.is_empty() {
        return may_be_empty.then_some(all);
    }
    let mut bits = 0;
    for name in names.split(',') {
        let name = name.to_ascii_lowercase();
        if name == "all" {
            bits |= all;
            continue;
        }
        let name = name.strip_prefix("cap_")?;
        let number = NAMES.iter().position(|known| *known == name)?;
        bits |= 1 << number;
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_attributes() {
        // The value that `setcap cap_net_raw+ep` stores, as getfattr(1) shows it.
        let net_raw = hex::decode("0100000200200000000000000000000000000000").unwrap();
        assert_eq!(attribute("cap_net_raw=ep"), Some(net_raw.clone()));
        assert_eq!(attribute("cap_net_raw+pe"), Some(net_raw));
        assert_eq!(attribute("cap_net_raw=ep cap_net_raw-e").unwrap()[0], 0);
        assert_eq!(
            attribute("cap_bpf,cap_chown=p").unwrap()[4..16],
            [1, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0]
        );
        for bad in [
            "cap_nothing=ep",
            "cap_kill",
            "cap_kill=x",
            "+p",
            "cap_kill+",
        ] {
            assert_eq!(attribute(bad), None, "{bad}");
        }
    }
}
