//! Whether a filesystem agrees with itself.

use super::{CheckResult, Findings, results};
use imgasm_fs::FileSystem;

/// The most faults that are reported one by one; a broken filesystem can have millions.
const MAX_FAULTS: usize = 50;

/// Checks all metadata of a filesystem; `name` says which it is: `root filesystem`.
pub fn check(name: &str, fs: &dyn FileSystem) -> Vec<CheckResult> {
    let mut findings = Findings::default();
    let (mut count, mut warnings) = (0_usize, 0_usize);
    let checked = fs.check(&mut |fault| {
        if !fault.is_error() {
            warnings += 1;
            if warnings <= MAX_FAULTS {
                findings.warning(format!("{}: {}", fault.at, fault.problem));
            }
            return;
        }
        count += 1;
        if count <= MAX_FAULTS {
            findings.problem(format!("{}: {}", fault.at, fault.problem));
        }
    });
    if let Some(more) = count.checked_sub(MAX_FAULTS).filter(|more| *more > 0) {
        findings.problem(format!("{more} more faults"));
    }
    if let Some(more) = warnings.checked_sub(MAX_FAULTS).filter(|more| *more > 0) {
        findings.warning(format!("{more} more warnings"));
    }
    let findings = checked.map(|()| findings);
    results(&format!("{name} is consistent"), findings)
}
