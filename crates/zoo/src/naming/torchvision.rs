//! torchvision's names. Its ResNets have timm's; for VGG the classifier differs, for MobileNetV2
//! everything.

use taper_graph::Graph;

/// torchvision's name of a tensor, if it is different.
pub(super) fn name(ours: &str, graph: &Graph) -> Option<String> {
    let (module, tensor) = ours.rsplit_once('.')?;
    let theirs = match graph.name() {
        name if name.starts_with("vgg") => vgg(module)?.to_owned(),
        "mobilenet-v2" => mobilenet_v2(module)?,
        _ => return None,
    };
    Some(format!("{theirs}.{tensor}"))
}

/// `torchvision/models/vgg.py`: linear layers over the flattened map of 7 × 7.
fn vgg(module: &str) -> Option<&'static str> {
    Some(match module {
        "pre_logits.fc1" => "classifier.0",
        "pre_logits.fc2" => "classifier.3",
        "head.fc" => "classifier.6",
        _ => return None,
    })
}

/// `torchvision/models/mobilenetv2.py`: all blocks in one sequence.
fn mobilenet_v2(module: &str) -> Option<String> {
    /// Blocks before each stage.
    const BEFORE: [usize; 7] = [0, 1, 3, 6, 10, 13, 16];
    let fixed = match module {
        "conv_stem" => "features.0.0",
        "bn1" => "features.0.1",
        "conv_head" => "features.18.0",
        "bn2" => "features.18.1",
        "classifier" => "classifier.1",
        _ => "",
    };
    if !fixed.is_empty() {
        return Some(fixed.to_owned());
    }
    let mut parts = module.strip_prefix("blocks.")?.split('.');
    let stage: usize = parts.next()?.parse().ok()?;
    let block: usize = parts.next()?.parse().ok()?;
    let position = BEFORE.get(stage)? + block + 1;
    let inner = match (stage, parts.next()?) {
        (0, "conv_dw") => "0.0",
        (0, "bn1") => "0.1",
        (0, "conv_pw") => "1",
        (0, "bn2") => "2",
        (_, "conv_pw") => "0.0",
        (_, "bn1") => "0.1",
        (_, "conv_dw") => "1.0",
        (_, "bn2") => "1.1",
        (_, "conv_pwl") => "2",
        (_, "bn3") => "3",
        _ => return None,
    };
    Some(format!("features.{position}.conv.{inner}"))
}
