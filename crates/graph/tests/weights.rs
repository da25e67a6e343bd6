//! Weights by formula, and what does not fit a network.

use taper_graph::{WeightSource, Weights, check_weights};
use taper_networks as networks;

#[test]
fn seeded_weights_are_those_of_the_formula() {
    let weights = Weights::seeded(&networks::resnet50(10));
    let first = |name: &str| weights.values(name).unwrap()[..3].to_vec();
    // From crates/testing/reference/seeded.py.
    assert_eq!(first("conv1.weight"), [0.183_612_94, -0.040_655_017, -0.048_119_612]);
    assert_eq!(first("layer4.2.bn3.weight"), [0.979_966_5, 0.838_224_53, 0.907_485_8]);
    assert_eq!(first("layer4.2.bn3.running_var"), [1.010_136_1, 1.198_659_2, 1.100_713_6]);
    assert_eq!(first("fc.bias"), [0.011_622_93, -0.005_190_825_5, -0.038_700_78]);
}

#[test]
fn seeded_weights_fit_and_a_hole_is_named() {
    let graph = networks::efficientnet_lite0(10);
    let seeded = Weights::seeded(&graph);
    check_weights(&graph, &seeded).unwrap();
    check_weights(&graph.without_classifier(), &seeded).unwrap();

    let mut weights = Weights::new();
    for name in seeded.names() {
        let (name, shape, values) = match name {
            "conv_stem.weight" => ("conv_stem.wait", seeded.shape(name), seeded.values(name)),
            "classifier.bias" => (name, Some(&[3][..]), Some(vec![0.0; 3].into())),
            name => (name, seeded.shape(name), seeded.values(name)),
        };
        weights.insert(name, shape.unwrap().to_vec(), values.unwrap().to_vec());
    }
    let error = check_weights(&graph, &weights).unwrap_err().to_string();
    assert!(error.contains("'conv_stem.weight' (nearest found: 'conv_stem.wait')"), "{error}");
    assert!(error.contains("'classifier.bias' is [3], needed [10]"), "{error}");
    assert!(error.contains("1 unexpected: 'conv_stem.wait'"), "{error}");
}
