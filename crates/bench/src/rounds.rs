//! Taking turns.

use crate::{
    process::Process,
    protocol::{Loaded, median},
    row::Row,
};

/// What is measured in turns, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds<'a> {
    /// The name of the case.
    pub(crate) case: &'a str,
    /// What the figures are in.
    pub(crate) unit: &'static str,
    /// How many turns each contestant has, at least 1.
    pub(crate) rounds: usize,
    /// How long a turn is.
    pub(crate) seconds: f64,
    /// Threads of each.
    pub(crate) threads: usize,
}

impl Rounds<'_> {
    /// Lets all take turns, each time in a different order, and compares Taper, which is `ours`,
    /// with every other. All are loaded.
    pub(crate) fn run(
        &self,
        ours: &mut Process,
        peers: &mut [(&mut Process, Loaded)],
    ) -> anyhow::Result<Vec<Row>> {
        let count = 1 + peers.len();
        let mut figures = vec![Vec::new(); count];
        for round in 0..self.rounds {
            for turn in 0..count {
                let who = (turn + round) % count;
                let process = match who.checked_sub(1) {
                    None => &mut *ours,
                    Some(peer) => &mut *peers[peer].0,
                };
                figures[who].push(process.burst(self.seconds)?.value);
            }
        }
        let taper = figures.remove(0);
        let own = Row {
            case: self.case.into(),
            peer: None,
            taper: median(&mut taper.clone()),
            peer_value: None,
            unit: self.unit,
            ratio: None,
            taper_rounds: taper.clone(),
            peer_rounds: Vec::new(),
            peer_version: None,
            threads: self.threads,
        };
        if peers.is_empty() {
            return Ok(vec![own]);
        }
        let against = |((process, loaded), theirs): (&(&mut Process, Loaded), Vec<f64>)| {
            let mut ratios: Vec<f64> = taper.iter().zip(&theirs).map(|(a, b)| a / b).collect();
            Row {
                peer: Some(process.name().into()),
                peer_value: Some(median(&mut theirs.clone())),
                ratio: Some(median(&mut ratios)),
                peer_rounds: theirs,
                peer_version: Some(loaded.version.clone()),
                ..own.clone()
            }
        };
        Ok(peers.iter().zip(figures).map(against).collect())
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)] // helpers of tests
mod tests {
    use std::process::Command;

    use super::*;

    /// A process whose figures are `first`, then `first + step` and so on.
    fn counter(first: u32, step: u32) -> Process {
        let script = format!(
            r#"n={first}; while read -r line; do echo "{{\"measured\": {{\"value\": $n, \"passes\": 1}}}}"; n=$((n+{step})); done"#
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        Process::start("counter", command).unwrap()
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_ratios() {
        let rounds = Rounds { case: "c", unit: "u", rounds: 3, seconds: 0.1, threads: 2 };
        let (mut ours, mut peer) = (counter(10, 30), counter(10, 10));
        let loaded = Loaded { version: "counter 1".into(), sample: Vec::new() };
        let rows = rounds.run(&mut ours, &mut [(&mut peer, loaded)]).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].taper_rounds, [10.0, 40.0, 70.0]);
        assert_eq!(rows[0].peer_rounds, [10.0, 20.0, 30.0]);
        assert_eq!((rows[0].taper, rows[0].peer_value), (40.0, Some(20.0)));
        assert_eq!(rows[0].ratio, Some(2.0)); // of 1, 2 and 2.33
        let alone = rounds.run(&mut counter(5, 1), &mut []).unwrap();
        assert_eq!((alone[0].taper, alone[0].ratio), (6.0, None));
    }
}
