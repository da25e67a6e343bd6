#![doc = include_str!("../README.md")]

/// The file of a folder for browsers that holds the model.
pub const MODEL: &str = "model.safetensors";

/// What a folder for browsers has besides its page, the model and what describes it: names and
/// contents. They are the same for every model.
pub const FILES: [(&str, &[u8]); 7] = [
    ("taper.js", include_bytes!("../assets/taper.js")),
    ("taper.d.ts", include_bytes!("../assets/taper.d.ts")),
    ("engine.js", include_bytes!("../assets/engine.js")),
    ("worker.js", include_bytes!("../assets/worker.js")),
    ("node.js", include_bytes!("../assets/node.js")),
    ("taper.wasm", include_bytes!("../assets/taper.wasm")),
    // With relaxed SIMD.
    ("taper-relaxed.wasm", include_bytes!("../assets/taper-relaxed.wasm")),
];

const PAGE: &str = include_str!("../assets/page.html");

/// The page on which pictures are dropped, chosen, pasted or filmed, where a server with
/// `taper-serve`'s addresses answers.
pub fn served_page() -> String {
    page(
        "They are sent to this server, which keeps none of them.",
        "<a href=\"openapi.json\">API</a> · <a href=\"metrics\">Metrics</a> ·\n    \
         <code>curl --data-binary @picture.jpg <span id=\"here\"></span>predict</code>",
        include_str!("../assets/served.js"),
    )
}

/// The same page where the browser answers, by [`FILES`] and the model beside it.
pub fn exported_page() -> String {
    page(
        "They stay on this device: the model runs in this page.",
        "For other pages: <code>import { classify } from \"./taper.js\"</code>, see README.md",
        include_str!("../assets/exported.js"),
    )
}

fn page(place: &str, footer: &str, backend: &str) -> String {
    let page = PAGE.replacen("{{where}}", place, 1).replacen("{{footer}}", footer, 1);
    page.replacen("{{backend}}", backend.trim_end(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_whole() {
        for (page, own) in [(served_page(), "\"models\""), (exported_page(), "./taper.js")] {
            assert!(!page.contains("{{") && !page.contains("}}"), "a place was not filled");
            assert!(page.contains(own) && page.contains("const backend"));
            assert!(page.ends_with("</html>\n"));
        }
    }

    #[test]
    fn modules_are_modules() {
        let modules = FILES.iter().filter(|(name, _)| name.ends_with(".wasm"));
        let modules: Vec<&[u8]> = modules.map(|(_, content)| *content).collect();
        assert!(modules.iter().all(|module| module.starts_with(b"\0asm")));
        assert_ne!(modules[0], modules[1]);
    }
}
