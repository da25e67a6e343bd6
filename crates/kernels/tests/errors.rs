//! Unsupported calls are refused, and the message says what is wrong.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_kernels::{
    Algorithm, Border, Conv2dShape, Epilogue, KernelClass, KernelError, PackedFilter, PixelFilter,
    Pool, PoolKind, Team, Window, global_average_pool,
};

fn message(error: KernelError) -> String {
    error.to_string()
}

#[test]
fn shapes_without_output_are_refused() {
    let base = Conv2dShape::new([8, 8], 4, 4, Window::square(3));
    let cases = [
        (Conv2dShape { input: [0, 8], ..base }, "must be positive"),
        (Conv2dShape { window: Window::square(0), ..base }, "must be positive"),
        (Conv2dShape { window: Window::square(3).stride(0), ..base }, "must be positive"),
        (
            Conv2dShape { window: Window::square(9), ..base },
            "does not fit into a padded height of 8",
        ),
        (Conv2dShape { in_channels: 0, ..base }, "0 in"),
        (Conv2dShape { groups: 0, ..base }, "0 groups"),
        (Conv2dShape { groups: 3, ..base }, "do not divide into 3 groups"),
        (
            Conv2dShape { in_channels: usize::MAX / 2, groups: 1, ..base },
            "does not fit into memory",
        ),
        (Conv2dShape { input: [usize::MAX, 8], ..base }, "above"),
    ];
    for (shape, expected) in cases {
        let error = message(shape.output().unwrap_err());
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
}

#[test]
fn buffers_of_the_wrong_length_are_refused() {
    let class = KernelClass::best();
    let shape = Conv2dShape::new([4, 4], 3, 5, Window::square(1));
    let pack = |weights: usize, bias: usize| {
        PackedFilter::<f32>::pack(class, &shape, &vec![0.0; weights], Some(&vec![0.0; bias]))
    };
    assert!(message(pack(14, 5).unwrap_err()).contains("weights holds 14 values, expected 15"));
    assert!(message(pack(15, 4).unwrap_err()).contains("bias holds 4 values, expected 5"));
    let filter = pack(15, 5).unwrap();
    let run = |n: usize, input: usize, residual: Option<usize>, out: usize, scratch: usize| {
        let residual = residual.map(|len| vec![0.0; len]);
        let epilogue = Epilogue { residual: residual.as_deref(), ..Epilogue::default() };
        let mut scratch = vec![0.0; scratch];
        filter.run(
            &mut Team::serial(&mut scratch),
            n,
            &vec![0.0; input],
            epilogue,
            &mut vec![0.0; out],
        )
    };
    let scratch = filter.scratch_len();
    assert!(run(2, 96, Some(160), 160, scratch).is_ok());
    assert!(run(0, 0, None, 0, scratch).is_ok());
    assert!(message(run(2, 95, None, 160, scratch).unwrap_err()).contains("input holds 95"));
    assert!(
        message(run(2, 96, Some(159), 160, scratch).unwrap_err()).contains("residual holds 159")
    );
    assert!(message(run(2, 96, None, 161, scratch).unwrap_err()).contains("output holds 161"));
    assert!(message(run(usize::MAX, 96, None, 161, scratch).unwrap_err()).contains("batch"));
    assert!(matches!(run(2, 96, None, 160, 0).unwrap_err(), KernelError::ScratchTooSmall { .. }));
}

#[test]
fn pixels_need_one_group_and_a_positive_std() {
    let class = KernelClass::best();
    let shape = Conv2dShape::new([4, 4], 3, 5, Window::square(1));
    let pack = |shape: &Conv2dShape, std: &[f32]| {
        PixelFilter::<f32>::pack(class, shape, &vec![0.0; shape.filter_len()], None, &[0.5; 3], std)
    };
    assert!(pack(&shape, &[0.5; 3]).is_ok());
    assert!(message(pack(&shape, &[0.5, 0.0, 0.5]).unwrap_err()).contains("std must be positive"));
    assert!(message(pack(&shape, &[0.5; 2]).unwrap_err()).contains("std holds 2"));
    let dilated = Conv2dShape { window: Window::square(2).dilation(2), ..shape };
    assert!(message(pack(&dilated, &[0.5; 3]).unwrap_err()).contains("dilation must be 1"));
    let grouped = Conv2dShape::depthwise([4, 4], 3, Window::square(1));
    assert!(message(pack(&grouped, &[0.5; 3]).unwrap_err()).contains("groups"));
}

#[test]
fn pools_without_a_value_are_refused() {
    let class = KernelClass::best();
    let padded = Window::square(2).padding(Border::uniform(2));
    let error = Pool::new(class, PoolKind::Max, [4, 4], 3, padded).unwrap_err();
    assert!(message(error).contains("lies in the border altogether"));
    assert!(Pool::new(class, PoolKind::Max, [4, 4], 0, Window::square(2)).is_err());
    let pool = Pool::new(class, PoolKind::Max, [4, 4], 3, Window::square(2)).unwrap();
    let error = pool.run(&mut Team::serial(&mut []), 1, &[0.0; 48], &mut [0.0; 3]).unwrap_err();
    assert!(message(error).contains("output holds 3 values, expected 27"));
    let mean = |shape, input: &[f32], out: &mut [f32]| {
        global_average_pool(class, &mut Team::serial(&mut []), 1, shape, input, out)
    };
    assert!(mean([0, 3], &[], &mut [0.0; 3]).is_err());
    assert!(mean([2, 3], &[0.0; 5], &mut [0.0; 3]).is_err());
}

#[test]
fn an_algorithm_that_does_not_fit_is_refused() {
    let shape = Conv2dShape::new([4, 4], 3, 5, Window::square(1));
    let error = PackedFilter::<f32>::pack_for(
        KernelClass::best(),
        &shape,
        Algorithm::Depthwise,
        &[0.0; 15],
        None,
    );
    assert_eq!(error.unwrap_err().to_string(), "depthwise cannot compute 4×4×3 → 5, kernel 1×1");
}
