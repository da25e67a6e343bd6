//! Graphs in saved artefacts stay readable: the current form of every operation, and those of
//! earlier versions.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_graph::Graph;
use taper_networks as networks;

/// A graph with every operation that artefacts held before vision transformers were ordinary
/// operations, as `serde_json` wrote it at commit 837b5b9.
const EVERY_OPERATION: &str = r#"{"name":"all","nodes":[
{"name":"input","op":{"Input":{"channels":3}},"inputs":[]},
{"name":"conv","op":{"Conv2d":{"in_channels":3,"out_channels":8,"kernel":3,"stride":2,
    "padding":"Same","dilation":1,"groups":1,"bias":false}},"inputs":[0]},
{"name":"bn","op":{"BatchNorm":{"channels":8,"eps":0.001,"momentum":0.1,"unbiased":true}},
    "inputs":[1]},
{"name":"act","op":{"Activation":"Relu6"},"inputs":[2]},
{"name":"depthwise","op":{"Conv2d":{"in_channels":8,"out_channels":8,"kernel":3,"stride":1,
    "padding":{"Symmetric":1},"dilation":1,"groups":8,"bias":true}},"inputs":[3]},
{"name":"scale","op":{"LayerScale":{"channels":8}},"inputs":[4]},
{"name":"sum","op":"Add","inputs":[5,3]},
{"name":"relu","op":{"Activation":"Relu"},"inputs":[6]},
{"name":"pool","op":{"MaxPool":{"kernel":3,"stride":2,"padding":{"Symmetric":1}}},"inputs":[7]},
{"name":"ln","op":{"LayerNorm":{"channels":8,"eps":1e-6}},"inputs":[8]},
{"name":"gelu","op":{"Activation":"Gelu"},"inputs":[9]},
{"name":"mean","op":"GlobalAvgPool","inputs":[10]},
{"name":"drop","op":{"Dropout":{"p":0.5}},"inputs":[11]},
{"name":"fc","op":{"Linear":{"in_features":8,"out_features":2,"bias":true}},"inputs":[12]}
],"features":11,"output":13}"#;

/// A head, which starts from features.
const HEAD: &str = r#"{"name":"linear","nodes":[
{"name":"features","op":{"Features":{"width":4}},"inputs":[]},
{"name":"fc","op":{"Linear":{"in_features":4,"out_features":2,"bias":true}},"inputs":[0]}
],"features":0,"output":1}"#;

/// The operations of vision transformers.
const TOKENS: &str = r#"{"name":"tokens","nodes":[
{"name":"input","op":{"Input":{"channels":3}},"inputs":[]},
{"name":"conv","op":{"Conv2d":{"in_channels":3,"out_channels":8,"kernel":16,"stride":16,
    "padding":"End","dilation":1,"groups":1,"bias":true}},"inputs":[0]},
{"name":"tokens","op":{"PatchTokens":{"grid":[2,2],"width":8}},"inputs":[1]},
{"name":"qkv","op":{"Linear":{"in_features":8,"out_features":24,"bias":true}},"inputs":[2]},
{"name":"attn","op":{"Attention":{"width":8,"heads":2}},"inputs":[3]},
{"name":"class_token","op":"ClassToken","inputs":[4]}
],"features":5,"output":5}"#;

/// Squeeze and excitation, and attention between positions of a map.
const SQUEEZED: &str = r#"{"name":"squeezed","nodes":[
{"name":"input","op":{"Input":{"channels":3}},"inputs":[]},
{"name":"conv","op":{"Conv2d":{"in_channels":3,"out_channels":24,"kernel":16,"stride":16,
    "padding":"End","dilation":1,"groups":1,"bias":true}},"inputs":[0]},
{"name":"se","op":{"SqueezeExcite":{"channels":24,"reduced":4}},"inputs":[1]},
{"name":"attn","op":{"Attention":{"width":8,"heads":2}},"inputs":[2]},
{"name":"pool","op":"GlobalAvgPool","inputs":[3]}
],"features":4,"output":4}"#;

/// Tokens without a class token, pooled by attention.
const POOLED: &str = r#"{"name":"pooled","nodes":[
{"name":"input","op":{"Input":{"channels":3}},"inputs":[]},
{"name":"conv","op":{"Conv2d":{"in_channels":3,"out_channels":8,"kernel":16,"stride":16,
    "padding":"End","dilation":1,"groups":1,"bias":true}},"inputs":[0]},
{"name":"tokens","op":{"PatchTokens":{"grid":[2,2],"width":8,"prefix":0}},"inputs":[1]},
{"name":"kv","op":{"Linear":{"in_features":8,"out_features":10,"bias":true}},"inputs":[2]},
{"name":"pool","op":{"AttentionPool":{"width":8,"heads":2}},"inputs":[3]},
{"name":"class_token","op":"ClassToken","inputs":[4]}
],"features":5,"output":5}"#;

/// The operations of heads on directions.
const DIRECTIONS: &str = r#"{"name":"directions","nodes":[
{"name":"features","op":{"Features":{"width":4}},"inputs":[]},
{"name":"unit","op":{"UnitLength":{"scale":20.0}},"inputs":[0]},
{"name":"cosine","op":{"Cosine":{"in_features":4,"out_features":2,"scale":10.0}},"inputs":[1]}
],"features":0,"output":2}"#;

/// A whole vision transformer was one layer until commit 837b5b9.
const VIT_BASE: &str = r#"{"name":"vit-base","nodes":[
{"name":"input","op":{"Input":{"channels":3}},"inputs":[]},
{"name":"transformer","op":{"VisionTransformer":{"image":224,"patch":16,"width":768,"depth":12,
    "heads":12,"layer_scale":false}},"inputs":[0]},
{"name":"head","op":{"Linear":{"in_features":768,"out_features":10,"bias":true}},"inputs":[1]}
],"features":1,"output":2}"#;

const DINOV2_SMALL: &str = r#"{"name":"dinov2-small","nodes":[
{"name":"input","op":{"Input":{"channels":3}},"inputs":[]},
{"name":"transformer","op":{"VisionTransformer":{"image":518,"patch":14,"width":384,"depth":12,
    "heads":6,"layer_scale":true}},"inputs":[0]}
],"features":1,"output":1}"#;

fn without_spaces(json: &str) -> String {
    json.split_whitespace().collect()
}

#[test]
fn every_operation_is_read_and_written_as_before() {
    for text in [EVERY_OPERATION, HEAD, TOKENS, SQUEEZED, POOLED, DIRECTIONS] {
        let graph: Graph = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&graph).unwrap(), without_spaces(text));
        graph.shapes(32, 32).unwrap();
    }
    let head: Graph = serde_json::from_str(HEAD).unwrap();
    assert_eq!(head, taper_graph::heads::linear(4, 2));
}

#[test]
fn a_transformer_that_was_one_layer_becomes_ordinary_layers() {
    let vit: Graph = serde_json::from_str(VIT_BASE).unwrap();
    assert_eq!(vit, networks::vit_base(10));
    let dino: Graph = serde_json::from_str(DINOV2_SMALL).unwrap();
    assert_eq!(dino, networks::dinov2_small(0));
    for graph in [vit, dino] {
        let text = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
    }
}

#[test]
fn what_is_no_graph_is_an_error_that_says_why() {
    let refused = |from: &str, to: &str| {
        let text = HEAD.replace(from, to);
        assert_ne!(text, HEAD);
        serde_json::from_str::<Graph>(&text).unwrap_err().to_string()
    };
    for (from, to, why) in [
        ("\"inputs\":[0]", "\"inputs\":[1]", "precedes its input"),
        ("\"inputs\":[0]", "\"inputs\":[0,0]", "has 2 inputs, not 1"),
        ("\"output\":1", "\"output\":7", "there is no layer 7"),
        ("\"name\":\"fc\"", "\"name\":\"features\"", "two layers are named 'features'"),
        ("Linear", "Bilinear", "unknown variant `Bilinear`"),
        ("\"inputs\":[0]", "\"inputs\":[]", "has 0 inputs, not 1"),
        ("in_features", "inward", "missing field `in_features`"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(why), "{to}: {error}");
    }
    let odd = VIT_BASE.replace("\"heads\":12", "\"heads\":7");
    let error = serde_json::from_str::<Graph>(&odd).unwrap_err().to_string();
    assert!(error.contains("no vision transformer is like this"), "{error}");
}
