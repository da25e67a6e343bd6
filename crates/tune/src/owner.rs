//! Which process runs a trial, and whether it still exists.

use std::{fs, process};

/// A process, so that others can tell whether it has ended. On Linux: host, boot, process
/// namespace, number and time of start; elsewhere only its number, from which nothing follows.
pub(crate) fn own() -> String {
    let pid = process::id();
    format!("{} {} {} {pid} {}", host(), boot(), namespace(), start(pid).unwrap_or_default())
}

/// Whether it is certain that a process has ended: the machine was started again, or it is one of
/// this machine and there is no such process. Of other machines nothing is known.
pub(crate) fn has_ended(owner: &str) -> bool {
    let parts: Vec<&str> = owner.split(' ').collect();
    let [its_host, its_boot, its_namespace, pid, its_start] = parts[..] else { return false };
    if its_start.is_empty() || its_host != host() {
        return false;
    }
    if its_boot != boot() {
        return true;
    }
    let Ok(pid) = pid.parse() else { return false };
    its_namespace == namespace() && start(pid).is_none_or(|start| start != its_start)
}

fn word(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().split_whitespace().collect()
}

fn host() -> String {
    word("/proc/sys/kernel/hostname")
}

fn boot() -> String {
    word("/proc/sys/kernel/random/boot_id")
}

fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().replace(' ', "")
}

/// When a process began, in ticks since the machine did; none if there is no such process, or only
/// its remains (`proc(5)`, `/proc/PID/stat`, fields 22 and 3).
fn start(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may contain anything, is in parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.nth(18).filter(|_| !matches!(state, "Z" | "X")).map(str::to_owned)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_known() {
        assert!(!has_ended(&own()));
        let mut child = process::Command::new("sleep").arg("60").spawn().unwrap();
        let [host, boot, namespace] = [host(), boot(), namespace()];
        let start = start(child.id()).unwrap();
        let owner = format!("{host} {boot} {namespace} {} {start}", child.id());
        assert!(!has_ended(&owner));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has_ended(&owner));
        assert!(has_ended(&format!("{host} another-boot {namespace} {} {start}", process::id())));
        assert!(!has_ended(&format!("elsewhere {boot} {namespace} 1 {start}")));
        assert!(!has_ended("something else"));
    }
}
