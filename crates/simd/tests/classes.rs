//! Classes of instructions and their names.

use taper_simd::{KernelClass, Kernels};

#[test]
fn classes_are_named() {
    for kernels in [Kernels::Auto, Kernels::Avx512, Kernels::Avx2, Kernels::Portable] {
        assert_eq!(kernels.to_string().parse::<Kernels>().unwrap(), kernels);
    }
    let error = "sse".parse::<Kernels>().unwrap_err();
    assert!(error.to_string().contains("auto, avx512, avx2 or portable"));
    assert_eq!(Kernels::Auto.resolve().unwrap(), KernelClass::best());
    assert!(KernelClass::available().any(|class| class.name() == "portable"));
}
