//! Shutting this process off from the rest of the machine before it opens the bytes of strangers.
//!
//! Whoever found a way to have a parser do something else could then read and write no other files
//! (Landlock), open no connection, start no program and look into no other process (seccomp), and
//! gain no privileges (`no_new_privs`, which both set). None of it can be undone.
//!
//! It is a second line: every parser has to be sound without it. So where the kernel lacks a part,
//! the command goes on without that part.
//!
//! It holds for the thread that calls [`enter`] and for those that this one starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::private;

/// The newest rights that are asked for: a kernel that knows fewer does not restrict the others.
const RIGHTS: ABI = ABI::V6;

/// What every process may read: whether the machine has been started again, how many cores and how
/// much memory it has, and random numbers.
const OF_THE_MACHINE: [&str; 5] = [
    "/proc/sys/kernel/random/boot_id",
    "/proc/self/cgroup",
    "/proc/meminfo",
    "/sys/fs/cgroup",
    "/dev/urandom",
];

/// The calls that are refused: those that reach other machines, programs and processes, change the
/// kernel or what is mounted, or get round this filter. What moves bytes through a socket that is open
/// already is not among them: the handlers of signals do so.
const REFUSED: [libc::c_long; 61] = [
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_personality,
];

/// The requests of `ioctl(2)` that put keys into a terminal, for the shell to read
/// (`asm-generic/ioctls.h`).
const REFUSED_IOCTLS: [u64; 2] = [TIOCSTI, TIOCLINUX];
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541C;

/// Refuses all calls of the x32 ABI, which an `x86_64` kernel may offer beside its own: those whose
/// number has this bit (`__X32_SYSCALL_BIT` in `arch/x86/include/uapi/asm/unistd.h`). One instruction
/// does what would be a hundred numbers, and the kernel tries each call on a filter as it takes it.
#[cfg(target_arch = "x86_64")]
const REFUSE_X32: [seccompiler::sock_filter; 3] = [
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
    instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0x4000_0000, 1),
    instruction(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(),
        0,
    ),
];

/// An instruction of classic BPF; `skipped` follow it if it tests what does not hold.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::cast_possible_truncation)] // Codes are of 16 bits.
const fn instruction(code: u32, k: u32, skipped: u8) -> seccompiler::sock_filter {
    seccompiler::sock_filter {
        code: code as u16,
        jt: 0,
        jf: skipped,
        k,
    }
}

/// What a command needs of the host's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files, and folders with all in them, that are read.
    pub read: Vec<PathBuf>,
    /// Files, and folders with all in them, that are read and written.
    pub write: Vec<PathBuf>,
    /// Folders that are written, too: they are made, and [`leave`] removes those that stay empty.
    pub make: Vec<PathBuf>,
    /// Whether symbolic links are made in what is written.
    pub makes_links: bool,
}

/// What [`leave`] tidies up, and what [`narrow`] leaves as it is.
#[derive(Debug, Default)]
struct State {
    /// The folder for the temporary files of this process alone: that of the machine holds those of
    /// others.
    temporary: Option<PathBuf>,
    made: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    is_entered: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    temporary: None,
    made: Vec::new(),
    writable: Vec::new(),
    is_entered: false,
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shuts this thread off, and those that it will start. Gives what the kernel lacks for it.
pub fn enter(needs: &Needs) -> Vec<String> {
    let mut state = state();
    let state = &mut *state;
    let mut lacking = Vec::new();
    if let Err(problem) = state.make_temporary() {
        lacking.push(format!("temporary files: {problem}"));
    }
    for folder in &needs.make {
        state.make(folder);
    }
    let all = [&needs.write, &needs.make];
    state.writable = all.into_iter().flatten().cloned().collect();
    state.writable.extend(state.temporary.clone());
    state.is_entered = true;
    match restrict_files(needs, state) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(RulesetStatus::PartiallyEnforced) => {
            lacking.push("files: this kernel's Landlock is an older one".to_owned());
        }
        Ok(RulesetStatus::NotEnforced) => {
            lacking.push("files: this kernel has no Landlock".to_owned());
        }
        Err(error) => lacking.push(format!("files: {error}")),
    }
    if let Err(error) = restrict_calls() {
        lacking.push(format!("calls: {error}"));
    }
    lacking
}

/// Takes from this thread what it could read so far, except these files and folders and what it may
/// write. Nothing if it is not shut off.
///
/// # Errors
/// If the kernel refuses, although it could do so before.
pub fn narrow(read: &[PathBuf]) -> Result<(), RulesetError> {
    let state = state();
    if !state.is_entered {
        return Ok(());
    }
    let rights = AccessFs::ReadFile | AccessFs::ReadDir;
    let readable = read.iter().map(PathBuf::as_path);
    let readable = readable.chain(OF_THE_MACHINE.iter().map(Path::new));
    let readable = readable.chain(state.writable.iter().map(PathBuf::as_path));
    Ruleset::default()
        .handle_access(rights)?
        .create()?
        .add_rules(path_beneath_rules(readable, rights))?
        .restrict_self()?;
    Ok(())
}

/// Removes the folders that were made for this process, as it ends: with temporary files, and others
/// if nothing came into them, unless they are to be kept ([`keep`]).
pub fn leave() {
    let mut state = state();
    if let Some(folder) = state.temporary.take() {
        let _ = fs::remove_dir_all(folder);
    }
    for folder in state.made.drain(..).rev() {
        let _ = fs::remove_dir(folder);
    }
}

/// Leaves the folders that were made for outputs, even if they stay empty: from here on, the command
/// makes its outputs.
pub fn keep() {
    state().made.clear();
}

impl State {
    fn make_temporary(&mut self) -> Result<(), String> {
        if self.temporary.is_some() {
            return Ok(());
        }
        let made = private::folder("imgasm-").tempdir();
        let made = made.map_err(|error| error.to_string())?;
        tempfile::env::override_temp_dir(made.path())
            .map_err(|other| format!("they are in {} already", other.display()))?;
        self.temporary = Some(made.keep());
        Ok(())
    }

    /// Makes a folder and those above it. If one cannot be made, the command will say why.
    fn make(&mut self, folder: &Path) {
        let missing = folder.ancestors().take_while(|above| {
            !above.as_os_str().is_empty() && fs::symlink_metadata(above).is_err()
        });
        let missing: Vec<_> = missing.map(Path::to_owned).collect();
        for folder in missing.into_iter().rev() {
            if fs::create_dir(&folder).is_err() {
                return;
            }
            self.made.push(folder);
        }
    }

    /// The folders from which [`leave`] removes others.
    fn above_made(&self) -> impl Iterator<Item = &Path> {
        let removed = self.temporary.iter().chain(&self.made);
        removed.map(|folder| match folder.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        })
    }
}

fn restrict_files(needs: &Needs, state: &State) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(RIGHTS);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut unwanted: BitFlags<AccessFs> = AccessFs::Execute
        | AccessFs::IoctlDev
        | AccessFs::MakeChar
        | AccessFs::MakeBlock
        | AccessFs::MakeFifo
        | AccessFs::MakeSock;
    if !needs.makes_links {
        unwanted |= AccessFs::MakeSym;
    }
    let readable = needs.read.iter().map(PathBuf::as_path);
    let readable = readable.chain(OF_THE_MACHINE.iter().map(Path::new));
    // What is not there gets no rule: it will not be there later either.
    let status = Ruleset::default()
        .handle_access(all)?
        .handle_access(AccessNet::from_all(RIGHTS))?
        .scope(Scope::from_all(RIGHTS))?
        .create()?
        .add_rules(path_beneath_rules(readable, read))?
        .add_rules(path_beneath_rules(&state.writable, all & !unwanted))?
        .add_rules(removing(state))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// The right to remove what was made for this process.
fn removing(state: &State) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> + '_ {
    path_beneath_rules(state.above_made(), AccessFs::RemoveDir)
}

fn restrict_calls() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&filter()?)
}

/// What refuses the calls.
fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let is = |request| {
        let condition =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request);
        SeccompRule::new(vec![condition?])
    };
    let refused: Result<Vec<_>, _> = REFUSED_IOCTLS.into_iter().map(is).collect();
    rules.insert(libc::SYS_ioctl, refused?);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program = BpfProgram::try_from(filter)?;
    #[cfg(target_arch = "x86_64")]
    let program = [REFUSE_X32.to_vec(), program].concat();
    Ok(program)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use seccompiler::sock_filter;

    /// `AUDIT_ARCH_X86_64` in `linux/audit.h`.
    const X86_64: u32 = 0xc000_003e;

    /// What a filter gives for a call, as the kernel runs it (`Documentation/networking/filter.rst`).
    fn verdict(program: &[sock_filter], number: i64, second_argument: u32) -> u32 {
        // `struct seccomp_data`, by words of 32 bits.
        let mut data = [0; 16];
        data[0] = u32::try_from(number).unwrap();
        data[1] = X86_64;
        data[6] = second_argument;
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let holds = match code {
                0x20 => {
                    accumulator = data[k as usize / 4];
                    continue;
                }
                0x05 => {
                    at += k as usize;
                    continue;
                }
                0x06 => return k,
                0x15 => accumulator == k,
                0x45 => accumulator & k != 0,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    #[test]
    fn calls_are_refused_by_both_of_their_numbers() {
        let program = filter().unwrap();
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        for call in 0..600 {
            let is_refused = REFUSED.contains(&call);
            let expected = if is_refused {
                refused
            } else {
                libc::SECCOMP_RET_ALLOW
            };
            assert_eq!(verdict(&program, call, 0), expected, "{call}");
            assert_eq!(verdict(&program, call | 0x4000_0000, 0), refused, "{call}");
        }
        for (request, expected) in [
            (TIOCSTI, refused),
            (TIOCLINUX, refused),
            (0x5401, libc::SECCOMP_RET_ALLOW),
        ] {
            let request = u32::try_from(request).unwrap();
            assert_eq!(verdict(&program, libc::SYS_ioctl, request), expected);
        }
    }
}
