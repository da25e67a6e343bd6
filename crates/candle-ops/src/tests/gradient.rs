//! The kernels of the backward pass.

use super::*;
use crate::gradient::{
    Activated, ActivationGradient, ColumnSums, Combine, DepthwiseData, DepthwiseWeights, Fold,
    LayerNormGradient, MaxPoolGradient, Total, chunks,
};

type Filtering<T> = unsafe extern "C" fn(*const T, *const f32, *mut T, Window);
type Weighing<T> = unsafe extern "C" fn(*const T, *const T, *mut f32, Window, u32);
type Folding<T> = unsafe extern "C" fn(*const T, *mut T, Window);
type Pooling<T> = unsafe extern "C" fn(*const T, *const T, *mut T, Window);
type Summing<T> =
    unsafe extern "C" fn(*const T, *const T, *const f32, *const f32, *mut f32, u32, u32, u32);
type Totalling = unsafe extern "C" fn(*const f32, *mut f32, u32, u32, u32);
type Combining<T> = unsafe extern "C" fn(*const T, *const T, *const f32, *mut T, u32, u32);
type Activating<T> = unsafe extern "C" fn(*const T, *mut T, u32, u32);
type Deriving<T> = unsafe extern "C" fn(*const T, *const T, *mut T, u32, u32);
type Norming<T> = unsafe extern "C" fn(*const T, *const T, *const f32, *mut T, u32, u32, f32);

/// Windows of all kinds, bit for bit.
fn slid<T: WithDType + std::fmt::Debug>(library: &Library, suffix: &str, wide: usize) {
    for (case, (kernel, stride, dilation, padding)) in [
        (3, 1, 1, Padding::Same),
        (3, 2, 1, Padding::Same),
        (5, 2, 1, Padding::Symmetric(2)),
        (3, 1, 2, Padding::Symmetric(1)),
        (2, 2, 1, Padding::Symmetric(0)),
    ]
    .into_iter()
    .enumerate()
    {
        for (channels, vector) in [(wide * 2, wide), (wide * 2, 1), (3, 1)] {
            let shape = [2, 9, 7, channels];
            let x: Vec<T> = values(2 * 9 * 7 * channels, case as u64);
            let slide = Slide { kernel, stride, dilation, padding, activation: None };
            let window = slide.over(&shape).unwrap();
            let (maps, out) = (tensor(&x, &shape), window.output());
            let name = |op: &str| format!("{op}_{suffix}_{vector}");
            let dy: Vec<T> = values(out.elem_count(), 11);
            let slopes = tensor(&dy, out.dims());
            let weights: Vec<f32> = values(kernel * kernel * channels, 5);

            let filter = tensor(&weights, &[kernel * kernel, channels]);
            let op = DepthwiseData(window);
            let expected: Vec<T> = flat(&slopes.apply_op2_no_bwd(&filter, &op).unwrap());
            let mut dx = values::<T>(x.len(), 9);
            let target = dx.as_mut_ptr();
            // SAFETY: the buffers are as long as the window says.
            launch::<Filtering<T>>(library, &name("depthwise_data"), |f| unsafe {
                f(dy.as_ptr(), weights.as_ptr(), target, window)
            });
            assert!(dx == expected, "depthwise data of {window:?}");

            let op = DepthwiseWeights(slide);
            let (chunks, _) = op.sizes(&window);
            let expected: Vec<f32> = flat(&maps.apply_op2_no_bwd(&slopes, &op).unwrap());
            let mut sums = vec![-1f32; expected.len()];
            let target = sums.as_mut_ptr();
            // SAFETY: as above.
            launch::<Weighing<T>>(library, &name("depthwise_weights"), |f| unsafe {
                f(x.as_ptr(), dy.as_ptr(), target, window, chunks as u32)
            });
            assert!(sums == expected, "depthwise weights of {window:?}");

            let columns: Vec<T> = values(dy.len() * kernel * kernel, 12);
            let shape = Unfold::output(&window);
            let expected = tensor(&columns, shape.dims()).apply_op1_no_bwd(&Fold(window)).unwrap();
            let target = dx.as_mut_ptr();
            // SAFETY: as above.
            launch::<Folding<T>>(library, &name("fold"), |f| unsafe {
                f(columns.as_ptr(), target, window)
            });
            assert!(dx == flat::<T>(&expected), "fold of {window:?}");

            if dilation == 1 {
                let op = MaxPoolGradient(slide);
                let expected: Vec<T> = flat(&maps.apply_op2_no_bwd(&slopes, &op).unwrap());
                let target = dx.as_mut_ptr();
                // SAFETY: as above.
                launch::<Pooling<T>>(library, &name("max_pool_gradient"), |f| unsafe {
                    f(x.as_ptr(), dy.as_ptr(), target, window)
                });
                assert!(dx == expected, "max pool of {window:?}");
            }
        }
    }
}

/// Sums over rows, and factors of channels, bit for bit.
fn channelwise<T: WithDType + std::fmt::Debug>(library: &Library, suffix: &str, wide: usize) {
    for (channels, vector) in [(wide * 2, wide), (wide * 2, 1), (3, 1)] {
        let (rows, shape) = (74, [2, 37, channels]);
        let (a, b) = (values::<T>(rows * channels, 1), values::<T>(rows * channels, 2));
        let (first, second) = (tensor(&a, &shape), tensor(&b, &shape));
        let shift: Vec<f32> = values(channels, 3);
        let shifted = tensor(&shift, &[channels]);
        let parts = chunks(rows, channels);
        assert!(parts > 1 && rows % parts != 0);
        for single in [true, false] {
            let op = ColumnSums { single, shifts: [None, Some(&shifted)] };
            let expected: Vec<f32> = flat(&first.apply_op2_no_bwd(&second, &op).unwrap());
            let mut sums = vec![-1f32; expected.len()];
            let target = sums.as_mut_ptr();
            let other = if single { std::ptr::null() } else { b.as_ptr() };
            let [n, c, p] = [rows, channels, parts].map(|size| size as u32);
            let name = format!("column_sums_{suffix}_{vector}");
            // SAFETY: the buffers are as long as rows, channels and chunks say.
            launch::<Summing<T>>(library, &name, |f| unsafe {
                f(a.as_ptr(), other, std::ptr::null(), shift.as_ptr(), target, n, c, p)
            });
            assert!(sums == expected, "sums of {channels} columns");

            let factors: Vec<f32> = values(3 * channels, 4);
            let op = Combine { single };
            let on = tensor(&factors, &[3, channels]);
            let expected: Vec<T> = flat(&first.apply_op3_no_bwd(&second, &on, &op).unwrap());
            let mut y = values::<T>(a.len(), 9);
            let target = y.as_mut_ptr();
            // SAFETY: as above.
            launch::<Combining<T>>(library, &format!("combine_{suffix}_{vector}"), |f| unsafe {
                f(a.as_ptr(), other, factors.as_ptr(), target, n, c)
            });
            assert!(y == expected, "{channels} channels combined");
        }
    }
}

/// What libraries round differently.
fn nearly<T: WithDType>(library: &Library, suffix: &str, wide: usize, bound: f64) {
    let close = |ours: &[T], theirs: &[T], what: &str| {
        for (a, b) in ours.iter().zip(theirs) {
            let (a, b) = (a.to_f64(), b.to_f64());
            assert!((a - b).abs() <= bound * b.abs().max(1.0), "{what}: {a} instead of {b}");
        }
    };
    for (channels, vector) in [(wide * 5, wide), (wide * 5, 1), (3, 1)] {
        let (rows, shape) = (18, [2, 9, channels]);
        let (x, dy) = (values::<T>(rows * channels, 4), values::<T>(rows * channels, 7));
        let (maps, slopes) = (tensor(&x, &shape), tensor(&dy, &shape));
        let scale = values::<f32>(channels, 5);
        let count = (rows * channels) as u32;
        for activation in 1..=3 {
            let expected: Vec<T> = flat(&maps.apply_op1_no_bwd(&Activated(activation)).unwrap());
            let mut y = values::<T>(x.len(), 9);
            let target = y.as_mut_ptr();
            // SAFETY: the buffers are as long as the count says.
            launch::<Activating<T>>(library, &format!("activated_{suffix}_{vector}"), |f| unsafe {
                f(x.as_ptr(), target, count, activation)
            });
            close(&y, &expected, "activation");
            let op = ActivationGradient(activation);
            let expected: Vec<T> = flat(&maps.apply_op2_no_bwd(&slopes, &op).unwrap());
            let name = format!("activation_gradient_{suffix}_{vector}");
            // SAFETY: as above.
            launch::<Deriving<T>>(library, &name, |f| unsafe {
                f(x.as_ptr(), dy.as_ptr(), target, count, activation)
            });
            close(&y, &expected, "gradient of an activation");
        }
        let op = LayerNormGradient { eps: 1e-6 };
        let on = tensor(&scale, &[channels]);
        let expected: Vec<T> = flat(&maps.apply_op3_no_bwd(&slopes, &on, &op).unwrap());
        let mut y = values::<T>(expected.len(), 9);
        let target = y.as_mut_ptr();
        let name = format!("layer_norm_gradient_{suffix}_{vector}");
        // SAFETY: both outputs have room.
        launch::<Norming<T>>(library, &name, |f| unsafe {
            let scale = scale.as_ptr();
            f(x.as_ptr(), dy.as_ptr(), scale, target, rows as u32, channels as u32, 1e-6)
        });
        close(&y, &expected, "gradient of layer norm");
    }
}

#[test]
fn gradients_are_those_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path()) else { return };
    slid::<f32>(&library, "f32", 4);
    slid::<f16>(&library, "f16", 8);
    slid::<bf16>(&library, "bf16", 8);
    channelwise::<f32>(&library, "f32", 4);
    channelwise::<f16>(&library, "f16", 8);
    channelwise::<bf16>(&library, "bf16", 8);
    nearly::<f32>(&library, "f32", 4, 4e-6);
    nearly::<f16>(&library, "f16", 8, 2e-3);
    nearly::<bf16>(&library, "bf16", 8, 1.6e-2);

    let x: Vec<f32> = values(70 * 6, 1);
    let expected: Vec<f32> =
        flat(&tensor(&x, &[70, 6]).apply_op1_no_bwd(&Total { groups: 4 }).unwrap());
    let mut y = vec![-1f32; 24];
    let target = y.as_mut_ptr();
    // SAFETY: the buffers are as long as rows, columns and groups say.
    launch::<Totalling>(&library, "total", |f| unsafe { f(x.as_ptr(), target, 70, 6, 4) });
    assert_eq!(y, expected);
}

/// Finite differences of the plain Rust forms: ⟨dy, op(x)⟩ against the gradient.
#[test]
fn gradients_follow_from_differences() {
    let shape = [2, 7, 6, 4];
    let count = shape.iter().product();
    let x: Vec<f32> = values::<f32>(count, 21).iter().map(|v| v / 4.0).collect();
    let dot = |a: &Tensor, b: &Tensor| -> f64 {
        let pairs = flat::<f32>(a).into_iter().zip(flat::<f32>(b));
        pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum()
    };
    let check = |x: &Tensor, dx: &Tensor, run: &dyn Fn(&Tensor) -> Tensor, dy: &Tensor| {
        let direction = tensor(&values::<f32>(x.elem_count(), 22), x.dims());
        let at = |by: f64| dot(&run(&(x + (&direction * by).unwrap()).unwrap()), dy);
        let step = 1e-2;
        let slope = (at(step) - at(-step)) / (2.0 * step);
        let ours = dot(dx, &direction);
        assert!((slope - ours).abs() < 2e-3 * ours.abs().max(50.0), "{ours}, not {slope}");
    };
    let maps = tensor(&x, &shape);
    for (kernel, stride, padding, groups) in
        [(3, 2, Padding::Same, 1), (3, 1, Padding::Symmetric(1), 2), (1, 1, Padding::Same, 1)]
    {
        let slide = Slide { kernel, stride, dilation: 1, padding, activation: None };
        let dense = crate::Dense { slide, groups, tf32: false };
        let sides = [6, kernel, kernel, 4 / groups];
        let filter = tensor(&values::<f32>(sides.iter().product(), 23), &sides);
        let y = dense.forward(&maps, &filter).unwrap();
        let dy = tensor(&values::<f32>(y.elem_count(), 24), y.dims());
        let dx = dense.data(&dy, &filter, &shape).unwrap();
        check(&maps, &dx, &|x| dense.forward(x, &filter).unwrap(), &dy);
        let dw = dense.filter(&maps, &dy, &sides).unwrap();
        check(&filter, &dw, &|filter| dense.forward(&maps, filter).unwrap(), &dy);
    }
    let slide =
        Slide { kernel: 3, stride: 2, dilation: 1, padding: Padding::Same, activation: None };
    let (weights, bias) = (values::<f32>(9 * 4, 25), tensor(&[0f32; 4], &[4]));
    let weights = tensor(&weights, &[9, 4]);
    let y = crate::depthwise(&maps, &weights, &bias, &slide).unwrap();
    let dy = tensor(&values::<f32>(y.elem_count(), 26), y.dims());
    let dx = crate::depthwise_data(&dy, &weights, &slide, [7, 6]).unwrap();
    check(&maps, &dx, &|x| crate::depthwise(x, &weights, &bias, &slide).unwrap(), &dy);
    let dw = crate::depthwise_weights(&maps, &dy, &slide).unwrap();
    check(&weights, &dw, &|w| crate::depthwise(&maps, w, &bias, &slide).unwrap(), &dy);

    let dy = tensor(&values::<f32>(count, 27), &shape);
    for activation in [Activation::Gelu, Activation::QuickGelu, Activation::GeluTanh] {
        let smooth = |x: &Tensor| crate::activate(x, activation).unwrap();
        let dx = crate::activation_gradient(&maps, &dy, activation).unwrap();
        check(&maps, &dx, &smooth, &dy);
    }
    let (scale, bias) = (values::<f32>(4, 28), tensor(&[0f32; 4], &[4]));
    let scale = tensor(&scale, &[4]);
    let norm = |x: &Tensor, scale: &Tensor| crate::layer_norm(x, scale, &bias, 0.1).unwrap();
    let (dx, [d_scale, _]) = crate::layer_norm_gradient(&maps, &dy, &scale, 0.1).unwrap();
    check(&maps, &dx, &|x| norm(x, &scale), &dy);
    check(&scale, &d_scale, &|scale| norm(&maps, scale), &dy);
}

/// torch gives the gradient of a window to its first maximum.
#[test]
fn of_equal_maxima_the_first_one_counts() {
    let slide = Slide {
        kernel: 2,
        stride: 1,
        dilation: 1,
        padding: Padding::Symmetric(0),
        activation: None,
    };
    let x = tensor(&[1f32, 1., 0., 1., 1., 1.], &[1, 2, 3, 1]);
    let dy = tensor(&[1f32, 10.], &[1, 1, 2, 1]);
    let dx: Vec<f32> = flat(&crate::max_pool_gradient(&x, &dy, &slide).unwrap());
    assert_eq!(dx, [1.0, 10.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn adam_is_that_of_the_reference() {
    type Moving = unsafe extern "C" fn(*mut f32, *const f32, u32, f32, f32);
    type Stepping = unsafe extern "C" fn(*mut f32, *const f32, u32, f32, f32, f32);
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path()) else { return };
    let count = 37;
    let gradient: Vec<f32> = values(count, 1);
    let mut moments: Vec<f32> = values::<f32>(2 * count, 2).iter().map(|v| v.abs()).collect();
    let mut parameters: Vec<f32> = values(count, 3);
    let (both, own) = (tensor(&moments, &[2, count]), tensor(&parameters, &[count]));
    crate::update_moments(&both, &tensor(&gradient, &[count]), [0.1, 0.001]).unwrap();
    crate::adam_step(&own, &both, [0.999, 0.01, 1e-8]).unwrap();
    let target = moments.as_mut_ptr();
    // SAFETY: the buffers are as long as the count says.
    launch::<Moving>(&library, "moments", |f| unsafe {
        f(target, gradient.as_ptr(), count as u32, 0.1, 0.001)
    });
    assert_eq!(moments, flat::<f32>(&both));
    let target = parameters.as_mut_ptr();
    // SAFETY: as above.
    launch::<Stepping>(&library, "adam_step", |f| unsafe {
        f(target, moments.as_ptr(), count as u32, 0.999, 0.01, 1e-8)
    });
    assert_eq!(parameters, flat::<f32>(&own));
}
