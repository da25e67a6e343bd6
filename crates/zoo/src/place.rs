use std::path::PathBuf;

use taper_fetch::{HubOptions, cached, promised_digest};

use crate::ModelSpec;

/// Where a model's pretrained weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Inside the program.
    Embedded,
    /// In the Hub's cache on this machine.
    Cached(PathBuf),
    /// On the Hub only.
    Remote,
}

impl Place {
    /// The name: `embedded`, `cached` or `remote`.
    pub fn name(&self) -> &'static str {
        match self {
            Place::Embedded => "embedded",
            Place::Cached(_) => "cached",
            Place::Remote => "remote",
        }
    }
}

impl ModelSpec {
    /// Where the weights are; never touches the network.
    pub fn place(&self, options: &HubOptions) -> Place {
        if self.is_embedded() {
            return Place::Embedded;
        }
        cached(&self.hub, options).map_or(Place::Remote, Place::Cached)
    }

    /// The size of the weights in bytes: as stored on this machine, else as 32-bit floats.
    pub fn bytes(&self, place: &Place) -> u64 {
        let on_disk = match place {
            Place::Embedded => self.embedded.map(|embedded| embedded.bytes.len() as u64),
            Place::Cached(path) => path.metadata().ok().map(|metadata| metadata.len()),
            Place::Remote => None,
        };
        on_disk.unwrap_or_else(|| {
            let graph = self.graph();
            // The encoder of texts is in the same file.
            let text = self.text.as_ref().map_or(0, taper_networks::TextTower::parameters);
            4 * (graph.learnable_parameters() + graph.running_statistics() + text) as u64
        })
    }

    /// The SHA-256 of the weights, if it is known without reading them: for embedded ones, for
    /// those that the registry pins, and for cached ones, which the Hub names by their digest.
    pub fn known_digest(&self, place: &Place) -> Option<String> {
        let own = self.embedded.map(|embedded| embedded.sha256).or(self.hub.sha256);
        own.map(str::to_owned).or_else(|| match place {
            Place::Cached(path) => promised_digest(path),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    #[test]
    fn places_are_told_without_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = HubOptions::from_env();
        options.cache = folder.path().to_owned();
        let lite = find("efficientnet-lite0").unwrap();
        assert_eq!(lite.place(&options), Place::Embedded);
        assert_eq!(lite.bytes(&Place::Embedded), 9_493_960);
        assert_eq!(lite.known_digest(&Place::Embedded).unwrap().len(), 64);

        let resnet = find("resnet18").unwrap();
        assert_eq!(resnet.place(&options), Place::Remote);
        assert_eq!(resnet.bytes(&Place::Remote), 46_796_448);
        let repository = folder.path().join("models--timm--resnet18.tv_in1k");
        let snapshot = repository.join("snapshots").join(resnet.hub.revision);
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::write(snapshot.join("model.safetensors"), [0; 100]).unwrap();
        let place = resnet.place(&options);
        assert_eq!((place.name(), resnet.bytes(&place)), ("cached", 100));
    }
}
