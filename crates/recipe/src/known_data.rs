/// A data set that has a name.
#[derive(Debug, Clone, Copy)]
pub struct KnownDataset {
    /// The name, as given to `--data`.
    pub name: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// The licence of the pictures.
    pub licence: &'static str,
    /// Whether it is part of the program.
    pub embedded: bool,
    /// The bytes of its archives together; 0 without any.
    pub bytes: u64,
    /// The SHA-256 of its archives.
    pub digests: &'static [&'static str],
}

/// All named data sets.
pub const KNOWN_DATASETS: [KnownDataset; 2] = [SYNTHETIC, ROCK_PAPER_SCISSORS];

const SYNTHETIC: KnownDataset = KnownDataset {
    name: "synthetic",
    description: "rendered hands that show rock, paper and scissors; the test split has other hands and light",
    licence: "MIT OR Apache-2.0",
    embedded: true,
    bytes: 0,
    digests: &[],
};

const ROCK_PAPER_SCISSORS: KnownDataset = KnownDataset {
    name: "rock-paper-scissors",
    description: "Laurence Moroney's rendered hands, 2,520 training and 372 test pictures; downloaded on first use",
    licence: "CC BY 2.0",
    embedded: false,
    bytes: 230_198_979,
    digests: &[
        "c2403444395842ad04c53612bad54b574443eae17a0723117a2ff87b9d72194f",
        "c27ab9fa43ce40b2e453de711365b477f4424586edf0388116674fd320f07503",
    ],
};
