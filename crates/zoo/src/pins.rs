//! The commit of each repository that is downloaded, and the digest of its weights.
//!
//! The values were not taken from the Hub's API, but from its pages as cached by search engines and
//! from the pins of other projects; a digest is listed only if the Hub's own page, or two
//! independent projects, state it for a commit with exactly this file. A repository that is not
//! listed is downloaded from `main`. To check on a machine that can reach the Hub:
//! `huggingface_hub.HfApi().model_info("timm/…", files_metadata=True)`.

/// A repository's pinned state.
pub(crate) struct Pin {
    pub(crate) repository: &'static str,
    pub(crate) commit: &'static str,
    pub(crate) sha256: Option<&'static str>,
}

impl Pin {
    /// The pin of a repository, if there is one.
    pub(crate) fn of(repository: &str) -> Option<&'static Self> {
        PINS.iter().find(|pin| pin.repository == repository)
    }
}

/// Ordered by repository.
static PINS: &[Pin] = &[
    Pin {
        repository: "google/siglip-base-patch16-224",
        commit: "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
        sha256: Some("2c63cb7d1f2e95ba501893cbb8faeb4ea9a3af295498d35097126228659c2af8"),
    },
    Pin {
        repository: "google/siglip2-base-patch16-224",
        commit: "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        sha256: Some("612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b"),
    },
    Pin {
        repository: "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        commit: "f0e2ffa09cbadab3db6a261ec1ec56407ce42912",
        sha256: Some("3c00043509d2e3f35ec62bd85a643a393883dcda624d8208d034cc390c708297"),
    },
    Pin {
        repository: "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        commit: "1a25a446712ba5ee05982a381eed697ef9b435cf",
        sha256: Some("ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6"),
    },
    Pin {
        repository: "timm/MobileCLIP2-S0-OpenCLIP",
        commit: "095906d28bf54d7584dc411e8ffe448f34289e05",
        sha256: Some("ab91a1a0c4330d6b1913e24d5035dfdea15423316aaec649610c6b1c6ddd0e95"),
    },
    Pin {
        repository: "timm/convnext_atto.d2_in1k",
        commit: "435c0a8d02d5b872e90c8cde36887465982cb399",
        sha256: Some("0f70bc49f1896c8c15af857d2d1d418abfaf097a62b4e29a35e6e65b752f5953"),
    },
    Pin {
        repository: "timm/convnext_base.fb_in1k",
        commit: "28a94f6353acecb8a5ce70491f9bc29a21d93e2e",
        sha256: None,
    },
    Pin {
        repository: "timm/convnext_femto.d1_in1k",
        commit: "1e0c02df687c47abf0819e1a4f858293e17e0c50",
        sha256: None,
    },
    Pin {
        repository: "timm/convnext_nano.d1h_in1k",
        commit: "fe9cba6df2f17352639e23ca89e1aa6b37f51462",
        sha256: None,
    },
    Pin {
        repository: "timm/convnext_pico.d1_in1k",
        commit: "0d879cb0cfd9b851a13f007d3ed170dd049f1476",
        sha256: None,
    },
    Pin {
        repository: "timm/convnext_small.fb_in1k",
        commit: "7941c0c00f3ca64f5048de06464b90ad12da0ccb",
        sha256: None,
    },
    Pin {
        repository: "timm/convnext_tiny.fb_in1k",
        commit: "b43a6303c9fcf176d2d707478a128c2c91e93528",
        sha256: Some("08b9dc9c3a3a29421de7996761e176501896d1ae7fc3085cf56a643772329276"),
    },
    Pin {
        repository: "timm/mobilenetv2_100.ra_in1k",
        commit: "5afa12513b048c79b9147a5d210e9bdc50035481",
        sha256: Some("55ea4fb3a96010b933710ebf44fc965b070d5cd054d3f35e44f2d1320b4a714e"),
    },
    Pin {
        repository: "timm/mobilenetv4_conv_medium.e500_r256_in1k",
        commit: "ad66898c045c1b5223ea3f2c0830b74cf2e75bac",
        sha256: Some("35ca23dc46c0075d9acdcab06d30e5395c4d97e422d8cb5e5e627823aeb7c1fa"),
    },
    Pin {
        repository: "timm/mobilenetv4_conv_small.e2400_r224_in1k",
        commit: "331fb803779522b685cf942e15f914fb6741c1eb",
        sha256: Some("7a7102ec18f62bbfb555b6fe829bbb5af749516b84174926c29ffdfdfc03aec4"),
    },
    Pin {
        repository: "timm/repvgg_a2.rvgg_in1k",
        commit: "87d4d383cb45031cb9fa2fc8ddca73fd6649240f",
        sha256: None,
    },
    Pin {
        repository: "timm/resnet152.tv_in1k",
        commit: "1f8fa579af406a6f10e457a6dce6909c9157a70f",
        sha256: Some("15897077afdf4d6334dc0c3f8e6fb483afb3faa9298c139f3c6eb29bca6ae5b2"),
    },
    Pin {
        repository: "timm/resnet18.tv_in1k",
        commit: "bbd144b3e5565108aad885f145491d11bc6ce807",
        sha256: Some("694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81"),
    },
    Pin {
        repository: "timm/resnet34.tv_in1k",
        commit: "1b7b21cca82ff974d341713f777bf740c2db38c4",
        sha256: None,
    },
    Pin {
        repository: "timm/resnet50.tv_in1k",
        commit: "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa",
        sha256: Some("5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888"),
    },
    Pin {
        repository: "timm/tf_efficientnet_lite0.in1k",
        commit: "38825935cd55b7f62331fbc6fdbe14a0bca3dcfd",
        sha256: Some("1b2a452450b5cf3f8f42da5b6214e71d5fda5666bef4dfae0699407e5bef13e1"),
    },
    Pin {
        repository: "timm/vgg11.tv_in1k",
        commit: "38b46049b490ec2bdb6d4d32b8354c74977f3347",
        sha256: Some("682c023808812148d4e60c76d80ad83dbeaf5d50eb1a952a0b836895003151e5"),
    },
    Pin {
        repository: "timm/vgg11_bn.tv_in1k",
        commit: "1eb350bbb712e01a71a259d3296ac996539a9f0e",
        sha256: None,
    },
    Pin {
        repository: "timm/vgg13.tv_in1k",
        commit: "398c5a92d29787ceca04d7b45c8a07efd8f934f7",
        sha256: None,
    },
    Pin {
        repository: "timm/vgg13_bn.tv_in1k",
        commit: "ed6e64d6167edbe08697cb4d7ceaef5077972131",
        sha256: Some("7dae235e35772693cd527e7ac9ef8f6594707a14a8d26aabdb83c0baa6847861"),
    },
    Pin {
        repository: "timm/vgg16.tv_in1k",
        commit: "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
        sha256: Some("57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8"),
    },
    Pin {
        repository: "timm/vgg16_bn.tv_in1k",
        commit: "e00c01e7cee168262dcba6428dc4a8f41e27e965",
        sha256: Some("88bbedbc8e780413736db38ac4efd41b06fc0e93fd5b8879b584bba63a950129"),
    },
    Pin {
        repository: "timm/vgg19.tv_in1k",
        commit: "128d4708565b3a414bcbb9bbad440b2fe37b9f18",
        sha256: Some("11aea017b543ff59233749d8f1cf544cda749378f5790d2fedab841fb86b7669"),
    },
    Pin {
        repository: "timm/vgg19_bn.tv_in1k",
        commit: "857683a806d7bac35f54d8fc1ed0331536e7e68f",
        sha256: Some("f8249087e63bae61c6166bb23d7c26efe1b2a43fd9fb5cd60ac6ce00535ba312"),
    },
    Pin {
        repository: "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
        commit: "063c6c38a5d8510b2e57df480445e94b231dad2c",
        sha256: Some("32aa17d6e17b43500f531d5f6dc9bc93e56ed8841b8a75682e1bb295d722405b"),
    },
    Pin {
        repository: "timm/vit_base_patch16_clip_224.openai",
        commit: "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
        sha256: Some("4b8699299b1e8997753c64b052ba32031449d5d853f55a039148560ee02b820f"),
    },
    Pin {
        repository: "timm/vit_base_patch32_clip_224.openai",
        commit: "a6f597a30f7b82c51704746581f9a4e41421e878",
        sha256: Some("e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31"),
    },
    Pin {
        repository: "timm/vit_large_patch14_clip_224.openai",
        commit: "18d0535469bb561bf468d76c1d73aa35156c922b",
        sha256: Some("9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e"),
    },
    Pin {
        repository: "timm/vit_small_patch14_dinov2.lvd142m",
        commit: "4610ca143709d58a633b6397a74412c2c3842454",
        sha256: Some("04d27f3400d059fc0cfd7d17dd1909a75bf3ea8fb3eeb48b97cb99e57ee20081"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;

    #[test]
    fn pins_are_commits_and_digests_of_repositories_in_use() {
        let hex = |text: &str, n: usize| {
            text.len() == n && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        assert!(PINS.is_sorted_by_key(|pin| pin.repository));
        for pin in PINS {
            assert!(hex(pin.commit, 40), "{}", pin.repository);
            assert!(pin.sha256.is_none_or(|digest| hex(digest, 64)), "{}", pin.repository);
            let model = models().iter().find(|model| model.hub.repository == pin.repository);
            let hub = model.expect("a pin without a network").hub;
            assert_eq!((hub.revision, hub.sha256), (pin.commit, pin.sha256));
        }
        let pinned = models().iter().filter(|model| model.hub.revision != "main").count();
        assert_eq!(pinned, PINS.len());
    }
}
