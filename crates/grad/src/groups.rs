use taper_graph::{Graph, Node, Op};
use taper_optim::ParameterGroup;

use crate::{Boundary, network::BACKBONE};

/// The groups of a [`Network`](crate::Network)'s trained layers, from the boundary up: the layers
/// before all blocks, the blocks, the last of which has what comes between it and pooling, and the
/// layers behind that. They are those by which timm's `layer_decay` counts
/// (`timm/optim/_param_groups.py`). Each consists of the names of its parameters.
pub fn layer_groups(backbone: &Graph, boundary: Boundary) -> Vec<Vec<String>> {
    let pools = |node: &Node| matches!(node.op, Op::GlobalAvgPool);
    let pooled = backbone.nodes().iter().position(pools).unwrap_or(usize::MAX);
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for tensor in backbone.parameters() {
        if tensor.node < boundary.first || !tensor.kind.is_learnable() {
            continue;
        }
        let name = format!("{BACKBONE}{}", tensor.name);
        let block = block_of(&tensor.name);
        let after = block.is_empty() && tensor.node < pooled;
        match groups.last_mut() {
            Some((last, names)) if *last == block || after => names.push(name),
            _ => match groups.iter_mut().find(|(own, _)| *own == block && !block.is_empty()) {
                Some((_, names)) => names.push(name),
                None => groups.push((block, vec![name])),
            },
        }
    }
    groups.into_iter().map(|(_, names)| names).collect()
}

/// The groups with rates that fall from the head's, which is 1, towards the boundary: each has
/// `decay` times the rate of the next one.
pub fn layer_decay(backbone: &Graph, boundary: Boundary, decay: f64) -> Vec<ParameterGroup> {
    let groups = layer_groups(backbone, boundary);
    let count = groups.len() as i32;
    let group = |(at, names): (usize, Vec<String>)| {
        let rate_factor = decay.powi(count - at as i32);
        names.into_iter().map(move |prefix| ParameterGroup {
            prefix,
            rate_factor,
            weight_decay: None,
        })
    };
    groups.into_iter().enumerate().flat_map(group).collect()
}

/// `layer1.0` of `layer1.0.conv1.weight`, `blocks.3.2` of `blocks.3.2.conv_pw.weight`, nothing of
/// `conv_head.weight` or of any layer of a stem. What makes a map smaller between two stages
/// belongs to the block behind it.
fn block_of(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if parts[0].starts_with("stem") {
        return String::new();
    }
    let mut end = 1;
    while end < parts.len() && (is_number(parts[end]) || end > 1 && parts[end] == "blocks") {
        end += 1;
    }
    match parts.get(end) {
        _ if end == 1 => String::new(),
        Some(&"downsample") if end == 2 && parts[0] == "stages" => {
            format!("{}.blocks.0", parts[..end].join("."))
        }
        _ => parts[..end].join("."),
    }
}

#[cfg(test)]
mod tests {
    use taper_networks as networks;

    use super::*;
    use crate::Unfreeze;

    #[test]
    fn blocks_are_groups_and_their_rates_fall_towards_the_boundary() {
        let graph = networks::resnet50(10).without_classifier();
        let whole = Boundary::find(&graph, &Unfreeze::All).unwrap();
        let groups = layer_groups(&graph, whole);
        // The stem and 3 + 4 + 6 + 3 blocks.
        assert_eq!(groups.len(), 17);
        assert!(groups[0].contains(&"backbone.bn1.bias".to_owned()), "{:?}", groups[0]);
        assert!(groups[1].iter().any(|name| name.contains("layer1.0.downsample")));
        let rates = layer_decay(&graph, whole, 0.5);
        assert_eq!(
            rates.len(),
            graph.parameters().iter().filter(|p| p.kind.is_learnable()).count()
        );
        assert_eq!(rates[0].rate_factor, 0.5_f64.powi(17));
        assert_eq!(rates.last().unwrap().rate_factor, 0.5);
        let last = Boundary::find(&graph, &Unfreeze::From("layer4".into())).unwrap();
        assert_eq!(layer_groups(&graph, last).len(), 3);
    }

    /// Reference: `tests/reference/layer_decay.py`.
    #[test]
    fn each_layer_has_the_factor_that_timm_gives_it() {
        let reference = include_str!("../tests/reference/layer_decay.json");
        let reference: serde_json::Value = serde_json::from_str(reference).unwrap();
        let mut compared = 0;
        for published in networks::published() {
            let Some(expected) = reference[published.name].as_object() else { continue };
            let graph = (published.graph)(published.classes).without_classifier();
            let whole = Boundary::find(&graph, &Unfreeze::All).unwrap();
            let groups = layer_groups(&graph, whole);
            assert_eq!(
                expected.values().filter_map(|v| v.as_u64()).max(),
                Some(groups.len() as u64)
            );
            for (at, names) in groups.iter().enumerate() {
                for name in names {
                    let name = name.strip_prefix(BACKBONE).unwrap();
                    let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
                    let factor = (groups.len() - at) as u64;
                    assert_eq!(expected[layer].as_u64(), Some(factor), "{}", published.name);
                }
            }
            compared += 1;
        }
        assert_eq!(compared, 10);
    }

    #[test]
    fn names_of_all_families_fall_into_blocks() {
        let blocks = [
            ("layer1.0.conv1.weight", "layer1.0"),
            ("layer1.0.downsample.0.weight", "layer1.0"),
            ("blocks.3.2.conv_pw.weight", "blocks.3.2"),
            ("blocks.11.attn.qkv.weight", "blocks.11"),
            ("stages.2.blocks.5.conv_dw.weight", "stages.2.blocks.5"),
            ("stages.2.downsample.1.weight", "stages.2.blocks.0"),
            ("features.28.weight", "features.28"),
            ("stem.0.weight", ""),
            ("conv_head.weight", ""),
            ("pos_embed", ""),
        ];
        for (name, block) in blocks {
            assert_eq!(block_of(name), block, "{name}");
        }
    }
}
