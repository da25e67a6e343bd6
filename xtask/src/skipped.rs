//! Tests that could not run, counted: `taper_testing::skip` names them in a file.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::bail;

use crate::root;

/// The variable that `taper_testing` looks at.
const SKIPPED_TESTS: &str = "TAPER_SKIPPED_TESTS";

/// How the reason of `taper_testing::shared` begins where there is no such folder.
const NO_SHARED: &str = "no ../shared on this machine";

/// How the reason of tests against another program begins where there is none: nobody needs Python
/// to work on Taper, and what it gives is committed as reference values.
const NO_OPTUNA: &str = "no Python with Optuna on this machine";

/// The list of a run of tests.
pub(crate) struct Skipped {
    list: PathBuf,
}

impl Skipped {
    /// An empty list.
    pub(crate) fn none_yet() -> anyhow::Result<Self> {
        let folder = root().join("target");
        fs::create_dir_all(&folder)?;
        let list = folder.join("skipped-tests");
        if list.exists() {
            fs::remove_file(&list)?;
        }
        Ok(Self { list })
    }

    /// Lets the tests of a command write to it.
    pub(crate) fn counted_of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(SKIPPED_TESTS, &self.list)
    }

    fn read(&self) -> anyhow::Result<String> {
        Ok(if self.list.exists() { fs::read_to_string(&self.list)? } else { String::new() })
    }

    /// Says how many tests were skipped, which, and why.
    pub(crate) fn tell(&self) -> anyhow::Result<()> {
        eprint!("{}", summary(&self.read()?));
        Ok(())
    }

    /// Refuses, with `CI=true` in the environment, what was skipped although it could have run.
    /// Where there is no `../shared`, tests of what lies in it could not.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let list = self.read()?;
        let avoidable = avoidable(&list, root().join("../shared").exists());
        if env::var_os("CI").is_some_and(|ci| ci == "true") && avoidable > 0 {
            bail!("{avoidable} of the skipped tests could have run, and CI is to run them");
        }
        Ok(())
    }
}

fn summary(list: &str) -> String {
    match list.lines().count() {
        0 => "no test was skipped\n".to_owned(),
        1 => format!("1 test was skipped:\n{list}"),
        n => format!("{n} tests were skipped:\n{list}"),
    }
}

/// How many of the skipped tests could have run.
fn avoidable(list: &str, shared_exists: bool) -> usize {
    let excused =
        |line: &str| !shared_exists && line.contains(NO_SHARED) || line.contains(NO_OPTUNA);
    list.lines().filter(|line| !excused(line)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_counted_and_excused_where_there_is_nothing_to_run_on() {
        assert_eq!(summary(""), "no test was skipped\n");
        let list = "skipped: a: no ../shared on this machine, for its data\nskipped: b: no c++\n";
        assert_eq!(summary(list), format!("2 tests were skipped:\n{list}"));
        assert_eq!(avoidable(list, false), 1);
        assert_eq!(avoidable(list, true), 2);
        assert_eq!(avoidable("skipped: c: no Python with Optuna on this machine\n", true), 0);
    }
}
