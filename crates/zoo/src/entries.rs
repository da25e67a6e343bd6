//! The table of the registry. Preprocessing is that of timm's `pretrained_cfg` for the very
//! weights; a test compares.

use taper_core::{Fit, Interpolation, Preprocessing};
use taper_fetch::{HubFile, RepositoryKind};
use taper_graph::{Graph, networks};

use crate::{
    pins::Pin,
    registry::{Embedded, ModelSpec},
};

/// What differs between the networks of one family.
struct Entry {
    name: &'static str,
    /// On the Hub.
    repository: &'static str,
    preprocessing: Preprocessing,
    feature_width: usize,
    parameters: usize,
    build: fn(usize) -> Graph,
}

/// What the networks of one family share.
struct Family {
    licence: &'static str,
    paper: &'static str,
    source: &'static str,
}

const RESNET: Family = Family {
    licence: "BSD-3-Clause",
    paper: "He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385",
    source: "torchvision (IMAGENET1K_V1), in timm's form",
};

const VGG: Family = Family {
    licence: "BSD-3-Clause",
    paper: "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014, arXiv:1409.1556",
    source: "torchvision (IMAGENET1K_V1), in timm's form",
};

const LITE: Family = Family {
    licence: "Apache-2.0",
    paper: "Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019, arXiv:1905.11946",
    source: "TensorFlow TPU repository (efficientnet/lite), ported for timm",
};

const MOBILENET_V2: Family = Family {
    licence: "Apache-2.0",
    paper: "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, arXiv:1801.04381",
    source: "Ross Wightman (timm, RandAugment recipe)",
};

const MOBILENET_V4: Family = Family {
    licence: "Apache-2.0",
    paper: "Qin et al., MobileNetV4: Universal Models for the Mobile Ecosystem, 2024, arXiv:2404.10518",
    source: "Ross Wightman (timm)",
};

const REPVGG: Family = Family {
    licence: "MIT",
    paper: "Ding et al., RepVGG: Making VGG-style ConvNets Great Again, 2021, arXiv:2101.03697",
    source: "the paper's authors, in timm's form",
};

const CONVNEXT: Family = Family {
    licence: "Apache-2.0",
    paper: "Liu et al., A ConvNet for the 2020s, 2022, arXiv:2201.03545",
    source: "the paper's authors (tiny, small, base) and Ross Wightman (the smaller ones), in timm's form",
};

const VIT: Family = Family {
    licence: "Apache-2.0",
    paper: "Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, 2020, arXiv:2010.11929",
    source: "Google (augreg, ImageNet-21k), fine-tuned by Ross Wightman (timm)",
};

const DINOV2: Family = Family {
    licence: "Apache-2.0",
    paper: "Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023, arXiv:2304.07193",
    source: "Meta (LVD-142M), in timm's form",
};

impl Family {
    const fn entry(&self, entry: Entry) -> ModelSpec {
        let (revision, sha256) = match Pin::of(entry.repository) {
            Some(pin) => (pin.commit, pin.sha256),
            None => ("main", None),
        };
        ModelSpec {
            name: entry.name,
            preprocessing: entry.preprocessing,
            hub: HubFile {
                kind: RepositoryKind::Model,
                repository: entry.repository,
                revision,
                file: "model.safetensors",
                sha256,
            },
            licence: self.licence,
            paper: self.paper,
            source: self.source,
            feature_width: entry.feature_width,
            parameters: entry.parameters,
            classes: 1000,
            build: entry.build,
            embedded: None,
        }
    }
}

/// ImageNet at 224 pixels as torchvision trained: bilinear, central 224 of 256.
const TORCHVISION: Preprocessing = Preprocessing {
    size: 224,
    interpolation: Interpolation::Bilinear,
    fit: Fit::Crop { fraction: 0.875 },
    mean: Preprocessing::IMAGENET_MEAN,
    std: Preprocessing::IMAGENET_STD,
};

const fn bicubic(preprocessing: Preprocessing) -> Preprocessing {
    Preprocessing { interpolation: Interpolation::Bicubic, ..preprocessing }
}

/// Pixels from −1 to 1, as TensorFlow's networks want them.
const fn tensorflow(size: u32, fraction: f32, interpolation: Interpolation) -> Preprocessing {
    let fit = Fit::Crop { fraction };
    Preprocessing { size, interpolation, fit, mean: [0.5; 3], std: [0.5; 3] }
}

const fn resnet(
    name: &'static str,
    repository: &'static str,
    feature_width: usize,
    parameters: usize,
    build: fn(usize) -> Graph,
) -> ModelSpec {
    let preprocessing = TORCHVISION;
    RESNET.entry(Entry { name, repository, preprocessing, feature_width, parameters, build })
}

const fn vgg(
    name: &'static str,
    repository: &'static str,
    parameters: usize,
    build: fn(usize) -> Graph,
) -> ModelSpec {
    let (preprocessing, feature_width) = (TORCHVISION, 512);
    VGG.entry(Entry { name, repository, preprocessing, feature_width, parameters, build })
}

const fn lite(
    name: &'static str,
    repository: &'static str,
    preprocessing: Preprocessing,
    parameters: usize,
    build: fn(usize) -> Graph,
) -> ModelSpec {
    let feature_width = 1280;
    LITE.entry(Entry { name, repository, preprocessing, feature_width, parameters, build })
}

const fn mobilenet_v4(
    name: &'static str,
    repository: &'static str,
    size: u32,
    fraction: f32,
    parameters: usize,
    build: fn(usize) -> Graph,
) -> ModelSpec {
    let fit = Fit::Crop { fraction };
    let preprocessing = Preprocessing { size, fit, ..bicubic(TORCHVISION) };
    let feature_width = 960;
    MOBILENET_V4.entry(Entry { name, repository, preprocessing, feature_width, parameters, build })
}

const fn repvgg(
    name: &'static str,
    repository: &'static str,
    feature_width: usize,
    parameters: usize,
    build: fn(usize) -> Graph,
) -> ModelSpec {
    let preprocessing = TORCHVISION;
    REPVGG.entry(Entry { name, repository, preprocessing, feature_width, parameters, build })
}

const fn convnext(
    name: &'static str,
    repository: &'static str,
    fraction: f32,
    feature_width: usize,
    parameters: usize,
    build: fn(usize) -> Graph,
) -> ModelSpec {
    let preprocessing = Preprocessing { fit: Fit::Crop { fraction }, ..bicubic(TORCHVISION) };
    CONVNEXT.entry(Entry { name, repository, preprocessing, feature_width, parameters, build })
}

/// Ordered by name.
pub(crate) static MODELS: &[ModelSpec] = &[
    convnext(
        "convnext-atto",
        "timm/convnext_atto.d2_in1k",
        0.875,
        320,
        3_695_520,
        networks::convnext_atto,
    ),
    convnext(
        "convnext-base",
        "timm/convnext_base.fb_in1k",
        0.875,
        1024,
        88_591_464,
        networks::convnext_base,
    ),
    convnext(
        "convnext-femto",
        "timm/convnext_femto.d1_in1k",
        0.875,
        384,
        5_217_784,
        networks::convnext_femto,
    ),
    convnext(
        "convnext-nano",
        "timm/convnext_nano.d1h_in1k",
        0.95,
        640,
        15_593_560,
        networks::convnext_nano,
    ),
    convnext(
        "convnext-pico",
        "timm/convnext_pico.d1_in1k",
        0.875,
        512,
        9_045_672,
        networks::convnext_pico,
    ),
    convnext(
        "convnext-small",
        "timm/convnext_small.fb_in1k",
        0.875,
        768,
        50_223_688,
        networks::convnext_small,
    ),
    convnext(
        "convnext-tiny",
        "timm/convnext_tiny.fb_in1k",
        0.875,
        768,
        28_589_128,
        networks::convnext_tiny,
    ),
    ModelSpec {
        classes: 0,
        ..DINOV2.entry(Entry {
            name: "dinov2-small",
            repository: "timm/vit_small_patch14_dinov2.lvd142m",
            preprocessing: Preprocessing {
                size: 518,
                fit: Fit::Crop { fraction: 1.0 },
                ..bicubic(TORCHVISION)
            },
            feature_width: 384,
            parameters: 22_056_192,
            build: networks::dinov2_small,
        })
    },
    ModelSpec {
        embedded: Some(Embedded {
            file: "efficientnet-lite0-f16.safetensors",
            bytes: include_bytes!("../assets/efficientnet-lite0-f16.safetensors"),
            sha256: "23aa92d811b335963cdaa9d376da76e7e3808d3192c18757e3055e3f97b43f43",
        }),
        ..lite(
            "efficientnet-lite0",
            "timm/tf_efficientnet_lite0.in1k",
            tensorflow(224, 0.875, Interpolation::Bicubic),
            4_652_008,
            networks::efficientnet_lite0,
        )
    },
    lite(
        "efficientnet-lite1",
        "timm/tf_efficientnet_lite1.in1k",
        tensorflow(240, 0.882, Interpolation::Bicubic),
        5_416_680,
        networks::efficientnet_lite1,
    ),
    lite(
        "efficientnet-lite2",
        "timm/tf_efficientnet_lite2.in1k",
        tensorflow(260, 0.890, Interpolation::Bicubic),
        6_092_072,
        networks::efficientnet_lite2,
    ),
    lite(
        "efficientnet-lite3",
        "timm/tf_efficientnet_lite3.in1k",
        tensorflow(300, 0.904, Interpolation::Bilinear),
        8_197_096,
        networks::efficientnet_lite3,
    ),
    lite(
        "efficientnet-lite4",
        "timm/tf_efficientnet_lite4.in1k",
        tensorflow(380, 0.920, Interpolation::Bilinear),
        13_006_568,
        networks::efficientnet_lite4,
    ),
    MOBILENET_V2.entry(Entry {
        name: "mobilenet-v2",
        repository: "timm/mobilenetv2_100.ra_in1k",
        preprocessing: bicubic(TORCHVISION),
        feature_width: 1280,
        parameters: 3_504_872,
        build: networks::mobilenet_v2,
    }),
    mobilenet_v4(
        "mobilenet-v4-large",
        "timm/mobilenetv4_conv_large.e600_r384_in1k",
        384,
        0.95,
        32_590_864,
        networks::mobilenet_v4_large,
    ),
    mobilenet_v4(
        "mobilenet-v4-medium",
        "timm/mobilenetv4_conv_medium.e500_r256_in1k",
        256,
        0.95,
        9_715_512,
        networks::mobilenet_v4_medium,
    ),
    mobilenet_v4(
        "mobilenet-v4-small",
        "timm/mobilenetv4_conv_small.e2400_r224_in1k",
        224,
        0.875,
        3_774_024,
        networks::mobilenet_v4_small,
    ),
    repvgg("repvgg-a0", "timm/repvgg_a0.rvgg_in1k", 1280, 8_309_384, networks::repvgg_a0),
    repvgg("repvgg-a1", "timm/repvgg_a1.rvgg_in1k", 1280, 12_789_864, networks::repvgg_a1),
    repvgg("repvgg-a2", "timm/repvgg_a2.rvgg_in1k", 1408, 25_499_944, networks::repvgg_a2),
    repvgg("repvgg-b0", "timm/repvgg_b0.rvgg_in1k", 1280, 14_339_048, networks::repvgg_b0),
    resnet("resnet101", "timm/resnet101.tv_in1k", 2048, 44_549_160, networks::resnet101),
    resnet("resnet152", "timm/resnet152.tv_in1k", 2048, 60_192_808, networks::resnet152),
    resnet("resnet18", "timm/resnet18.tv_in1k", 512, 11_689_512, networks::resnet18),
    resnet("resnet34", "timm/resnet34.tv_in1k", 512, 21_797_672, networks::resnet34),
    resnet("resnet50", "timm/resnet50.tv_in1k", 2048, 25_557_032, networks::resnet50),
    vgg("vgg11", "timm/vgg11.tv_in1k", 132_863_336, networks::vgg11),
    vgg("vgg11-bn", "timm/vgg11_bn.tv_in1k", 132_868_840, networks::vgg11_bn),
    vgg("vgg13", "timm/vgg13.tv_in1k", 133_047_848, networks::vgg13),
    vgg("vgg13-bn", "timm/vgg13_bn.tv_in1k", 133_053_736, networks::vgg13_bn),
    vgg("vgg16", "timm/vgg16.tv_in1k", 138_357_544, networks::vgg16),
    vgg("vgg16-bn", "timm/vgg16_bn.tv_in1k", 138_365_992, networks::vgg16_bn),
    vgg("vgg19", "timm/vgg19.tv_in1k", 143_667_240, networks::vgg19),
    vgg("vgg19-bn", "timm/vgg19_bn.tv_in1k", 143_678_248, networks::vgg19_bn),
    VIT.entry(Entry {
        name: "vit-base",
        repository: "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
        preprocessing: tensorflow(224, 0.9, Interpolation::Bicubic),
        feature_width: 768,
        parameters: 86_567_656,
        build: networks::vit_base,
    }),
];
