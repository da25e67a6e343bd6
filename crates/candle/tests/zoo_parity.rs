//! Every network of the registry against timm: specification, tensors, outputs with seeded weights.
//! References: `crates/testing/reference/zoo.py`.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use taper_candle::{Network, Pass};
use taper_core::{Fit, Interpolation};
use taper_graph::{Graph, WeightSource, Weights};
use taper_plan::{FrozenPlan, Output, PlanOptions, Precision};
use taper_testing::{
    assert_close, picture,
    zoo::{ZooReference, answers, specifications, tensors, thinned},
};
use taper_zoo::{LoadedWeights, ModelSpec, WeightsChoice, find, models, resolve};

fn through_candle(
    r: &ZooReference,
    model: &ModelSpec,
    graph: &Graph,
    weights: &dyn WeightSource,
) -> Vec<f32> {
    let network = Network::loaded(graph, weights, &Device::Cpu).unwrap();
    let (mean, std) = (model.preprocessing.mean, model.preprocessing.std);
    let pixels = picture(r.height, r.width);
    let normalised: Vec<f32> = pixels
        .iter()
        .enumerate()
        .map(|(i, p)| {
            ((f64::from(*p) / 255.0 - f64::from(mean[i % 3])) / f64::from(std[i % 3])) as f32
        })
        .collect();
    let x = Tensor::from_vec(normalised, (1, r.height, r.width, 3), &Device::Cpu).unwrap();
    let x = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    network.forward(&x, Pass::Evaluation).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn through_the_plan(
    r: &ZooReference,
    model: &ModelSpec,
    graph: &Graph,
    weights: &dyn WeightSource,
    output: Output,
    precision: Precision,
) -> Vec<f32> {
    let (mean, std) = (model.preprocessing.mean, model.preprocessing.std);
    let options =
        PlanOptions::new([r.height, r.width], mean, std).output(output).precision(precision);
    let plan = FrozenPlan::compile(graph, weights, &options).unwrap();
    let mut out = vec![f32::NAN; plan.output_width()];
    let mut workspace = plan.workspace(rayon::current_num_threads());
    plan.forward(&mut workspace, &picture(r.height, r.width), 1, &mut out).unwrap();
    out
}

#[test]
fn the_registry_says_what_timm_says() {
    let known = specifications();
    for model in models() {
        let timm = &known[model.name];
        let p = model.preprocessing;
        assert_eq!(model.hub.repository, timm.repository);
        assert_eq!(model.licence.to_lowercase(), timm.licence, "{}", model.name);
        let interpolation = match p.interpolation {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (p.size, interpolation),
            (timm.size, timm.interpolation.as_str()),
            "{}",
            model.name
        );
        let squashed = timm.crop == 0.0;
        let fit = if squashed { Fit::Squash } else { Fit::Crop { fraction: timm.crop } };
        assert_eq!(p.fit, fit, "{}", model.name);
        assert_eq!((p.mean, p.std), (timm.mean, timm.std), "{}", model.name);
        assert_eq!(model.parameters, timm.parameters, "{}", model.name);
        assert_eq!((model.feature_width, model.classes), (timm.features, timm.classes));
    }
    assert_eq!(known.len(), models().len(), "every network has its reference");
}

#[test]
fn graphs_name_and_shape_their_tensors_as_timm_does() {
    for model in models() {
        let mut theirs = tensors(model.name);
        if ["repvgg", "mobileone", "fastvit", "mobileclip"]
            .iter()
            .any(|own| model.name.starts_with(own))
        {
            theirs = deployed(theirs);
        }
        if let Some(latent) = theirs.remove("attn_pool.latent") {
            // The query's own layer is part of a layer of scores and values.
            let (width, heads) = (latent[2], 12);
            theirs.retain(|name, _| !name.starts_with("attn_pool.q.") && !name.contains(".kv."));
            let layer = |tensor: &str| format!("attn_pool.scores_values.{tensor}");
            theirs.insert(layer("weight"), vec![heads + width, width]);
            theirs.insert(layer("bias"), vec![heads + width]);
        }
        if let Some(registers) = theirs.remove("reg_token") {
            // They follow the class token, and all of them have positions.
            for tensor in ["cls_token", "pos_embed"] {
                let own = theirs.get_mut(tensor).unwrap();
                own[1] += registers[1] + usize::from(tensor == "pos_embed");
            }
        }
        // A linear layer over the channels of a map is a 1 × 1 convolution: sides of 1 make no
        // difference.
        let sides = |shape: Vec<usize>| shape.into_iter().filter(|n| *n != 1).collect::<Vec<_>>();
        let ours = model.graph().parameters().into_iter().map(|p| (p.name, sides(p.shape)));
        let theirs = theirs.into_iter().map(|(name, shape)| (name, sides(shape)));
        assert_eq!(
            ours.collect::<BTreeMap<_, _>>(),
            theirs.collect::<BTreeMap<_, _>>(),
            "{}",
            model.name
        );
    }
}

/// The tensors with the branches of each block fused to one convolution, and a normalisation before
/// attention to the layer after it.
fn deployed(trained: BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Vec<usize>> {
    const FIRST: [&str; 5] = [
        ".mixer.conv_kxk.0.conv.weight",
        ".conv_kxk.0.conv.weight",
        ".conv_kxk.conv.weight",
        ".large_conv.conv.weight",
        ".pos_enc.weight",
    ];
    const BRANCHES: [&str; 10] = [
        ".conv_kxk.",
        ".conv_1x1.",
        ".conv_scale.",
        ".identity.",
        ".mixer.",
        ".large_conv.",
        ".small_conv.",
        ".pos_enc.",
        ".token_mixer.layer_scale.",
        ".blocks.N.norm.",
    ];
    let mut all = BTreeMap::new();
    for (name, shape) in trained {
        let block = FIRST.iter().find_map(|first| name.strip_suffix(first));
        // What stands before an attention.
        let numbered: Vec<&str> = name
            .split('.')
            .map(|part| if part.parse::<u8>().is_ok() { "N" } else { part })
            .collect();
        let branch =
            BRANCHES.iter().any(|own| name.contains(own) || numbered.join(".").contains(own));
        if let Some(block) = block {
            all.insert(format!("{block}.reparam_conv.bias"), vec![shape[0]]);
            all.insert(format!("{block}.reparam_conv.weight"), shape);
        } else if let Some(layer) = name.strip_suffix(".token_mixer.qkv.weight") {
            all.insert(format!("{layer}.token_mixer.qkv.bias"), vec![shape[0]]);
            all.insert(name, shape);
        } else if !branch {
            all.insert(name, shape);
        }
    }
    all
}

/// Seeded weights as timm names and shapes them, in a file, through everything that loads weights.
fn loaded(model: &'static ModelSpec, folder: &Path) -> LoadedWeights {
    let mut shapes = tensors(model.name);
    if model.name.starts_with("vgg") {
        // 124 million numbers that are not needed.
        shapes.retain(|name, _| name.starts_with("features."));
    }
    let mut weights = Weights::seeded_by_name(shapes.clone());
    // As in the reference: attention would be all on one position, sigmoids at 0 or 1.
    let family = model.name.split('-').next().unwrap();
    let (quieter, factor): (&[&str], f32) = match family {
        "fastvit" | "mobileclip" | "mobileclip2" => (&[".gamma", ".qkv.weight"], 0.05),
        "mobileone" => (&[".bn.weight", ".identity.weight"], 0.7),
        _ => (&[], 1.0),
    };
    for (name, shape) in &shapes {
        if quieter.iter().any(|own| name.ends_with(own)) {
            let own = weights.values(name).unwrap().iter().map(|v| v * factor).collect();
            weights.insert(name, shape.clone(), own);
        }
    }
    let path = folder.join(format!("{}.safetensors", model.name));
    let file = taper_testing::safetensors_file(
        weights
            .names()
            .into_iter()
            .map(|name| (name, weights.shape(name).unwrap(), weights.values(name).unwrap())),
    );
    std::fs::write(&path, file).unwrap();
    let loaded = resolve(model, &WeightsChoice::File(path.clone())).unwrap();
    // An open file stays readable; its disk space is freed for the next network.
    std::fs::remove_file(path).unwrap();
    loaded
}

#[test]
fn features_and_logits_equal_those_of_timm() {
    let folder = tempfile::tempdir().unwrap();
    let mut current: Option<(String, LoadedWeights)> = None;
    let mut classifiers = 0;
    for r in answers() {
        let model = find(&r.network).unwrap();
        let backbone = &model.backbone();
        if current.as_ref().is_none_or(|(name, _)| *name != r.network) {
            current = Some((r.network.clone(), loaded(model, folder.path())));
        }
        let weights = current.as_ref().unwrap().1.source.as_ref();
        println!("{} {} × {}", r.network, r.height, r.width);
        let odd = r.height != r.width;
        let check = |features: &[f32], bound| assert_close(&thinned(features), &r.features, bound);
        check(&through_candle(&r, model, backbone, weights), 1e-4);
        let plan = |graph: &Graph, output, precision| {
            through_the_plan(&r, model, graph, weights, output, precision)
        };
        check(&plan(backbone, Output::Features, Precision::F32), 1e-4);
        check(&plan(backbone, Output::Features, Precision::Bf16), 2e-2);
        // VGG's classifiers have 124 million weights, all alike: vgg16 stands for them in
        // `parity.rs`.
        if !odd || r.network.starts_with("vgg") || r.logits.is_empty() {
            continue;
        }
        let graph = model.graph();
        let logits = plan(&graph, Output::Logits, Precision::F32);
        assert_close(&thinned(&logits), &r.logits, 1e-4);
        classifiers += 1;
    }
    assert!(classifiers >= 25, "{classifiers}");
}
