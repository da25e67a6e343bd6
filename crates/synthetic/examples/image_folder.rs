//! Writes the data set as an image folder, `OUT/SPLIT/CLASS/NUMBER.png`, and says how long
//! rendering took.
//!
//! `cargo run --release -p taper-synthetic --example image_folder -- OUT [SEED] [SIZE] [TRAIN VAL
//! TEST]`

use std::{error::Error, fs, path::Path, time::Instant};

use rayon::prelude::*;
use taper_core::Split;
use taper_synthetic::SyntheticConfig;

#[allow(clippy::print_stdout, reason = "the example's output")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(out) = arguments.first() else {
        return Err("name the folder to write".into());
    };
    let mut config = SyntheticConfig::default();
    if let Some(seed) = arguments.get(1) {
        config.seed = seed.parse()?;
    }
    let numbers =
        [&mut config.size, &mut config.train, &mut config.val, &mut config.test].into_iter();
    for (number, argument) in numbers.zip(arguments.iter().skip(2)) {
        *number = argument.parse()?;
    }
    let data = config.check()?;
    for split in Split::ALL {
        let start = Instant::now();
        let pictures: Vec<_> =
            (0..data.len(split)).into_par_iter().map(|i| data.render(split, i)).collect();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{split}: {} pictures in {seconds:.2} s on {} threads, {:.0}/s",
            pictures.len(),
            rayon::current_num_threads(),
            pictures.len() as f64 / seconds,
        );
        for class in data.classes().iter() {
            fs::create_dir_all(Path::new(out).join(split.name()).join(class))?;
        }
        pictures.par_iter().enumerate().try_for_each(|(i, picture)| {
            picture.save(Path::new(out).join(data.name(split, i)).with_extension("png"))
        })?;
    }
    Ok(())
}
