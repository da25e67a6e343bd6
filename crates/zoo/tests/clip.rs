//! Names and shapes of files with encoders of texts, as open_clip and transformers make them.
//! References: `crates/testing/reference/clip.py` and `siglip.py`.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{fs, io::Write, path::Path};

use serde_json::{Map, Value, json};
use taper_fetch::HubOptions;
use taper_weights::WeightFile;
use taper_zoo::{
    Error, WeightsChoice, find, models, named_as, resolve_text, text_weights, tokenizer,
};

/// Tensors and shapes, one in each line.
fn listing(network: &str, library: &str) -> Vec<(String, Vec<usize>)> {
    let family = if network.starts_with("clip") { "clip" } else { "siglip" };
    let folder = format!("{}/../testing/reference/{family}", env!("CARGO_MANIFEST_DIR"));
    // Those of LAION and DataComp differ in an activation, which has no tensors.
    let network = if network.starts_with("clip-vit-b32") { "clip-vit-b32" } else { network };
    let text = fs::read_to_string(format!("{folder}/{network}.{library}.tsv")).unwrap();
    let line = |line: &str| {
        let (name, shape) = line.split_once('\t').unwrap();
        let sides = shape.split('×').filter(|side| !side.is_empty());
        (name.to_owned(), sides.map(|side| side.parse().unwrap()).collect())
    };
    text.lines().map(line).collect()
}

/// A file with these tensors, whose numbers take no room on the disk: all are 0.
fn empty(path: &Path, tensors: &[(String, Vec<usize>)]) -> WeightFile {
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        header.insert(
            name.clone(),
            json!({"dtype": "F16", "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let header = Value::Object(header).to_string();
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + at) as u64).unwrap();
    // No digest of gigabytes of zeros.
    WeightFile::open(path).unwrap().with_digest(&"0".repeat(64))
}

#[test]
fn both_halves_are_found_in_files_of_both_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut networks = 0;
    for model in models() {
        let Some(tower) = &model.text else { continue };
        // Of the same form as MobileCLIP-S1.
        if model.name == "mobileclip2-s0" {
            continue;
        }
        networks += 1;
        for library in ["open_clip", "transformers"] {
            if library == "transformers" && model.name.starts_with("mobileclip") {
                continue;
            }
            let tensors = listing(model.name, library);
            let whole: usize =
                tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            // All that is learned, except the factor of the cosine; what is merged on loading is
            // counted in `zoo_parity` of `taper-candle`.
            if model.name.starts_with("clip") {
                assert_eq!(model.parameters + tower.parameters() + 1, whole, "{}", model.name);
            }
            named_as(empty(&path, &tensors), &model.graph()).unwrap();
            let text = text_weights(empty(&path, &tensors), tower).unwrap();
            assert!((text.scale - 1.0).abs() < 1e-6, "e⁰");
            for (name, shape) in tower.tensors() {
                assert_eq!(text.source.shape(&name), Some(&shape[..]), "{name}");
            }
        }
    }
    assert_eq!(networks, 9);
}

#[test]
fn half_a_file_and_a_network_without_texts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = find("clip-vit-b32").unwrap();
    let half: Vec<_> = listing(model.name, "open_clip")
        .into_iter()
        .filter(|(name, _)| name.starts_with("visual."))
        .collect();
    drop(empty(&path, &half));
    let options = HubOptions::from_env();
    let choice = WeightsChoice::File(path.clone());
    let error = resolve_text(model, &choice, &options).unwrap_err().to_string();
    assert!(error.contains("the encoder of texts of clip-vit-b32"), "{error}");
    assert!(error.contains("open_clip_model.safetensors of timm/vit_base_patch32"), "{error}");
    named_as(WeightFile::open(&path).unwrap(), &model.graph()).unwrap();

    let resnet = find("resnet18").unwrap();
    let error = resolve_text(resnet, &choice, &options).unwrap_err();
    assert!(matches!(error, Error::NoText { .. }), "{error}");
    assert!(error.to_string().contains("clip-vit-b16, clip-vit-b32, "), "{error}");
}

#[test]
fn a_tokenizer_comes_from_beside_the_weights_or_from_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let model = find("clip-vit-b32").unwrap();
    let mut options = HubOptions::from_env();
    options.cache = folder.path().join("cache");
    options.offline = true;
    let weights = folder.path().join("weights.safetensors");
    let file = WeightsChoice::File(weights.clone());
    let error = tokenizer(model, &file, &options).unwrap_err().to_string();
    assert!(error.contains("the tokenizer of clip-vit-b32"), "{error}");
    assert!(error.contains("tokenizer.json beside the weights"), "{error}");
    let beside = folder.path().join("tokenizer.json");
    fs::write(&beside, "{}").unwrap();
    assert_eq!(tokenizer(model, &file, &options).unwrap(), beside);

    // One in the cache is read as it is, and must be what was published.
    let own = model.text().unwrap().tokenizer;
    let repository = options.cache.join("models--openai--clip-vit-base-patch32");
    let snapshot = repository.join("snapshots").join(own.revision);
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join("tokenizer.json"), "{}").unwrap();
    let error = tokenizer(model, &WeightsChoice::Pretrained, &options).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains(own.sha256), "{error}");
}

#[test]
fn what_merged_tensors_lack_is_named_as_in_the_file() {
    type Tensors = Vec<(String, Vec<usize>)>;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let all = |network: &str| -> Tensors {
        match network {
            "siglip-b16" => listing(network, "transformers"),
            _ => taper_testing::zoo::tensors(network).into_iter().collect(),
        }
    };
    let refused = |network: &str, tensors: &Tensors| {
        let graph = find(network).unwrap().graph();
        named_as(empty(&path, tensors), &graph).err().unwrap().to_string()
    };
    for (network, name) in [
        ("mobileone-s0", "stages.0.1.identity.running_var"),
        ("mobileone-s0", "stages.1.0.conv_kxk.3.conv.weight"),
        ("mobileone-s0", "stem.conv_scale.bn.bias"),
        ("repvgg-a0", "stages.0.1.identity.bias"),
        ("repvgg-a0", "stem.conv_1x1.conv.weight"),
        ("fastvit-sa12", "stem.0.conv_scale.conv.weight"),
        ("fastvit-sa12", "stages.0.blocks.0.token_mixer.layer_scale.gamma"),
        ("fastvit-sa12", "stages.0.blocks.0.token_mixer.mixer.identity.weight"),
        ("fastvit-sa12", "stages.0.blocks.0.token_mixer.norm.identity.weight"),
        ("fastvit-sa12", "stages.1.downsample.proj.0.small_conv.conv.weight"),
        ("fastvit-sa12", "stages.3.pos_emb.pos_enc.bias"),
        ("fastvit-sa12", "stages.3.blocks.0.norm.weight"),
        ("fastvit-sa12", "final_conv.se.fc1.bias"),
        ("dinov2-small-reg4", "reg_token"),
        ("dinov2-small-reg4", "pos_embed"),
        ("siglip-b16", "vision_model.head.probe"),
        ("siglip-b16", "vision_model.head.attention.in_proj_bias"),
    ] {
        let mut tensors = all(network);
        let count = tensors.len();
        tensors.retain(|own| own.0 != name);
        assert_eq!(tensors.len() + 1, count, "{name}");
        let error = refused(network, &tensors);
        assert!(error.contains(name), "{network}: {error}");
        assert!(!error.contains("reparam_conv") && !error.contains("scores_values"), "{error}");
        assert!(!error.contains("unexpected"), "{network}: {error}");
    }
    // A branch that is missing everywhere, and one of another size.
    let mut fewer = all("mobileone-s0");
    fewer.retain(|own| !own.0.contains(".conv_kxk.3."));
    let error = refused("mobileone-s0", &fewer);
    assert!(error.contains("stages.0.0.conv_kxk.3.conv.weight"), "{error}");
    let mut wrong = all("mobileone-s0");
    let scale = wrong.iter_mut().find(|own| own.0 == "stages.1.0.conv_scale.conv.weight").unwrap();
    scale.1[0] += 1;
    let error = refused("mobileone-s0", &wrong);
    assert!(error.contains("stages.1.0.conv_scale.conv.weight in the shape"), "{error}");
}

/// timm's `reparameterize` adds up branches, and leaves the norm before attention alone.
#[test]
fn a_file_that_timm_has_fused_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let graph = find("fastvit-sa12").unwrap().graph();
    let mut tensors = Vec::new();
    for own in graph.parameters() {
        match own.name.strip_suffix(".token_mixer.qkv.bias") {
            None => tensors.push((own.name, own.shape)),
            Some(block) => {
                for tensor in ["weight", "bias", "running_mean", "running_var"] {
                    tensors.push((format!("{block}.norm.{tensor}"), vec![own.shape[0] / 3]));
                }
            }
        }
    }
    named_as(empty(&path, &tensors), &graph).unwrap();
    tensors.retain(|own| own.0 != "stages.3.blocks.1.norm.running_mean");
    let error = named_as(empty(&path, &tensors), &graph).err().unwrap().to_string();
    assert!(error.contains("stages.3.blocks.1.norm.running_mean"), "{error}");
}
