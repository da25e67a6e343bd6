//! The instructions of the backbone can be chosen, and change nothing that a user would see.

use serde_json::Value;

use crate::support::{QUICK, pictures, run};

#[test]
fn every_class_of_kernels_gives_the_same_predictions() {
    let folder = pictures();
    let here = folder.path();
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--kernels", "portable", "--json"]);
    let trained = run(here, &arguments).expect(0).json();
    assert_eq!(trained["kernels"], "portable");
    let recipe = std::fs::read_to_string(here.join("run/recipe.toml")).unwrap();
    assert!(recipe.contains("kernels = \"portable\""), "{recipe}");

    let predict = |kernels: &str| -> Option<Vec<Value>> {
        let pictures = ["data/test/red/00.jpg", "data/test/blue/01.jpg"];
        let mut arguments = vec!["predict", "run/model.safetensors", "--kernels", kernels];
        arguments.push("--json");
        arguments.extend(pictures);
        let ran = run(here, &arguments);
        if lacks(kernels) {
            let named = format!("--kernels is {kernels}");
            ran.complains(2, &[&named, "this processor has no", "--kernels auto"]);
            return None;
        }
        let lines = ran.expect(0).stdout;
        Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    };
    let reference = predict("portable").unwrap();
    assert_eq!(reference.len(), 2);
    for kernels in ["auto", "avx512", "avx2"] {
        let Some(others) = predict(kernels) else { continue };
        for (one, other) in reference.iter().zip(&others) {
            assert_eq!(one["label"], other["label"], "{kernels}");
            for class in ["blue", "red"] {
                let of = |answer: &Value| answer["probabilities"][class].as_f64().unwrap();
                assert!((of(one) - of(other)).abs() < 1e-5, "{kernels}: {one} {other}");
            }
        }
    }

    let evaluate = |kernels: &str| {
        let arguments =
            ["evaluate", "run/model.safetensors", "--data", "data", "--kernels", kernels, "--json"];
        run(here, &arguments).expect(0).json()
    };
    let loss = |answer: &Value| answer["loss"].as_f64().unwrap();
    assert!((loss(&evaluate("portable")) - loss(&evaluate("auto"))).abs() < 1e-5);
    assert!((loss(&evaluate("portable")) - loss(&trained["test"])).abs() < 1e-5);
}

#[test]
fn unknown_kernels_are_wrong_usage() {
    let folder = pictures();
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--kernels", "sse2"]);
    run(folder.path(), &arguments).complains(2, &["sse2", "auto, avx512, avx2 or portable"]);
    assert!(!folder.path().join("run").exists());
}

/// Whether this processor lacks the class, determined independently of the program.
fn lacks(kernels: &str) -> bool {
    let needed: &[&str] = match kernels {
        "avx512" => &["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx2", "fma"],
        "avx2" => &["avx2", "fma"],
        _ => return false,
    };
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = information.lines().find(|l| l.starts_with("flags")).unwrap_or_default();
    !needed.iter().all(|needed| flags.split_whitespace().any(|flag| flag == *needed))
}
