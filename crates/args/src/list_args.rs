//! What is known by name.

use std::path::PathBuf;

/// The arguments of `taper summary`.
#[derive(Debug, clap::Args)]
pub struct SummaryArgs {
    /// The network, or a trained model: the model.safetensors of a run folder, or the folder.
    /// Several, separated by commas, are shown side by side.
    #[arg(long, value_name = "NAME|MODEL", default_value = taper_zoo::DEFAULT_MODEL)]
    pub model: String,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub size: Option<u32>,
    /// End the network at an earlier layer or group of layers, e.g. layer3 [default: the network's
    /// own features].
    #[arg(long, value_name = "LAYER")]
    pub cut: Option<String>,
    /// The head: imagenet, none, linear, logistic, cosine, tutorial, or mlp:512,256 [default:
    /// imagenet; with --cut, none].
    #[arg(long, value_name = "HEAD")]
    pub head: Option<String>,
    /// How many classes a new head distinguishes [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub classes: Option<u32>,
    /// The head's dropout probability in training, 0 or more and less than 1 [default: the head's
    /// own].
    #[arg(long, value_name = "P", value_parser = probability)]
    pub dropout: Option<f32>,
    /// The batch size for which the memory of activations is computed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// Draw the network, block by block with shapes, into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Replace the file of --svg if it exists.
    #[arg(long, requires = "svg")]
    pub overwrite: bool,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub json: bool,
}

fn probability(text: &str) -> Result<f32, String> {
    let p = text.parse().ok().filter(|p| (0.0..1.0).contains(p));
    p.ok_or_else(|| "use 0 or more and less than 1".into())
}

/// The arguments of `taper recipes`.
#[derive(Debug, clap::Args)]
pub struct RecipesArgs {
    /// The recipe to print, as a file for `taper train`.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Answer in JSON.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of the commands that list what is known by name.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Answer with one line of JSON.
    #[arg(long)]
    pub json: bool,
}
