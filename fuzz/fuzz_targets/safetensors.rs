//! Any bytes as a file of weights: an error, or tensors with as many values as their shapes say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_graph::WeightSource;
use taper_weights::WeightFile;

fuzz_target!(|data: &[u8]| {
    // As they are, and as the header of a file that holds a few numbers.
    let mut framed = (data.len() as u64).to_le_bytes().to_vec();
    framed.extend(data);
    framed.extend([0; 64]);
    for bytes in [data.to_vec(), framed] {
        let Ok(file) = WeightFile::from_bytes("fuzz", bytes) else { continue };
        for name in file.names() {
            let count: usize = file.shape(name).unwrap().iter().product();
            assert_eq!(file.values(name).unwrap().len(), count);
        }
    }
});
