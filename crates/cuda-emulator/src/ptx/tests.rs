//! Small texts with known answers.

use super::Module;

/// Which kernels of the files named in `TAPER_PTX` have instructions that are not known.
#[test]
fn files_decode() {
    let Some(files) = std::env::var_os("TAPER_PTX") else { return };
    for file in std::env::split_paths(&files) {
        let module = Module::new(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let (mut known, mut unknown) = (0, Vec::new());
        for kernel in module.kernels() {
            match module.function(kernel) {
                Ok(_) => known += 1,
                Err(fault) => unknown.push(fault.to_string()),
            }
        }
        println!("{}: {known} kernels, {} unknown", file.display(), unknown.len());
        unknown.truncate(400);
        println!("{}", unknown.join("\n"));
    }
}
