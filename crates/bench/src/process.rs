//! The measured processes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::protocol::{Answer, Loaded, Measured, Request};

/// A measured process. It is stopped whenever it has nothing to do: thread pools that spin while
/// waiting for work (ONNX Runtime's, OpenMP's) then take nothing from the process whose turn it is,
/// and need no settings that would slow them down.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the command, which speaks the protocol.
    pub(crate) fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a group of its own: if this program dies, the system ends the stopped members of
        // groups that it leaves behind.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| anyhow!("{name} has no pipes"))?;
        Ok(Self { name: name.into(), child, input, output: BufReader::new(output) })
    }

    /// Who it is.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The most memory that it has had, in bytes; none where the system does not say.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    }

    /// Lets it get ready.
    pub(crate) fn load(&mut self, work: Value) -> anyhow::Result<Loaded> {
        match self.ask(&Request::Load(work))? {
            Answer::Loaded(loaded) => Ok(loaded),
            other => bail!("{}: unexpected answer {other:?}", self.name),
        }
    }

    /// Lets it work for about this many seconds.
    pub(crate) fn burst(&mut self, seconds: f64) -> anyhow::Result<Measured> {
        match self.ask(&Request::Burst { seconds })? {
            Answer::Measured(measured) if measured.value.is_finite() && measured.value > 0.0 => {
                Ok(measured)
            }
            other => bail!("{}: unexpected answer {other:?}", self.name),
        }
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        self.resume();
        let gone = || format!("{} has ended", self.name);
        writeln!(self.input, "{}", serde_json::to_string(request)?).with_context(gone)?;
        self.input.flush().with_context(gone)?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{} has ended: {}", self.name, self.child.wait()?);
        }
        self.pause();
        match serde_json::from_str(&line).with_context(|| format!("{}: {line}", self.name))? {
            Answer::Error(problem) => bail!("{}: {problem}", self.name),
            answer => Ok(answer),
        }
    }

    #[cfg(unix)]
    fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    #[cfg(unix)]
    fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        // It fails only if the process is gone, which the next request will reveal.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    #[cfg(not(unix))]
    fn pause(&self) {}

    #[cfg(not(unix))]
    fn resume(&self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)] // helpers of tests
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("shell", command).unwrap()
    }

    #[test]
    fn a_process_answers_and_is_stopped_in_between() {
        let mut process = shell(
            r#"while read -r line; do echo '{"measured": {"value": 2.5, "passes": 4}}'; done"#,
        );
        for _ in 0..3 {
            assert_eq!(process.burst(0.1).unwrap().value, 2.5);
            let stat = format!("/proc/{}/stat", process.child.id());
            // This file exists only on Linux. The signal needs a moment to arrive.
            let running = || std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") T "));
            for _ in 0..500 {
                if running() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
            assert!(!running());
        }
    }

    #[test]
    fn errors_and_sudden_ends_name_the_process() {
        let mut process = shell(r#"read -r line; echo '{"error": "no such network"}'"#);
        let error = process.load(Value::Null).unwrap_err().to_string();
        assert_eq!(error, "shell: no such network");
        let error = shell("exit 3").load(Value::Null).unwrap_err();
        assert!(error.to_string().contains("shell has ended"), "{error}");
    }
}
