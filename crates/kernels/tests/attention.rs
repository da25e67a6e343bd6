//! Attention and tokens against f64 references, over random shapes.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

#[cfg(unix)]
use common::guard::Guarded;
use common::{Random, relative_error, rms_error, round, wide};
use taper_kernels::{
    Activation, Attention, AttentionPool, Bf16, Element, KernelClass, KernelError, Kernels,
    SqueezeExcite, Team, class_token, patch_tokens,
};

fn classes() -> Vec<KernelClass> {
    let mut classes: Vec<_> = KernelClass::available().collect();
    classes.push(classes[0].without_bf16());
    classes
}

fn cases(count: usize) -> usize {
    if cfg!(miri) { 3 } else { count }
}

/// softmax(Q Kᵀ / √d) V from the definition; if `causal`, over the tokens up to each one.
fn attend(input: &[f64], [n, tokens, width, heads]: [usize; 4], causal: bool) -> Vec<f64> {
    let depth = width / heads;
    let mut out = vec![0.0; n * tokens * width];
    for picture in 0..n {
        let part = |token: usize, which: usize, head: usize| {
            let at = (picture * tokens + token) * 3 * width + which * width + head * depth;
            &input[at..][..depth]
        };
        for head in 0..heads {
            for query in 0..tokens {
                let q = part(query, 0, head);
                let score = |key: usize| {
                    let dot: f64 = q.iter().zip(part(key, 1, head)).map(|(a, b)| a * b).sum();
                    dot / (depth as f64).sqrt()
                };
                let seen = if causal { query + 1 } else { tokens };
                let scores: Vec<f64> = (0..seen).map(score).collect();
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let at = (picture * tokens + query) * width + head * depth;
                for (key, weight) in weights.iter().enumerate() {
                    for (o, v) in out[at..][..depth].iter_mut().zip(part(key, 2, head)) {
                        *o += weight / sum * v;
                    }
                }
            }
        }
    }
    out
}

fn random_shape(random: &mut Random) -> [usize; 4] {
    let heads = random.range(1, 4);
    let depth = random.pick(&[1, 3, 8, 16, 17, 32, 40, 64, 65]);
    [random.range(0, 2), random.pick(&[1, 2, 13, 14, 15, 31, 32, 33, 70]), heads * depth, heads]
}

fn attention_error<E: Element>(class: KernelClass, random: &mut Random) -> f64 {
    let shape @ [n, tokens, width, heads] = random_shape(random);
    // Large scores too, so that some weights are nearly 0 and others nearly 1.
    let factor = random.pick(&[0.1, 1.0, 6.0]);
    let values = random.values(n * tokens * 3 * width);
    let input = round::<E>(&values.iter().map(|v| v * factor).collect::<Vec<_>>());
    let causal = random.range(0, 1) == 1;
    let attention = Attention::new(class, tokens, width, heads).unwrap();
    let attention = if causal { attention.causal() } else { attention };
    let mut out = vec![E::from_f32(f32::NAN); n * tokens * width];
    let threads = random.range(1, 3);
    let mut scratch = vec![f32::NAN; threads * attention.scratch_len()];
    attention.run(&mut Team::new(threads, &mut scratch), n, &input, &mut out).unwrap();
    rms_error(&wide(&out), &attend(&wide(&input), shape, causal))
}

#[test]
fn attention_matches_the_reference_over_random_shapes() {
    let mut random = Random(21);
    for class in classes() {
        for case in 0..cases(60) {
            let error = attention_error::<f32>(class, &mut random);
            assert!(error <= 1e-5, "case {case}: {class}: {error:e}");
            let error = attention_error::<Bf16>(class, &mut random);
            assert!(error <= 4e-3, "case {case}: {class} bf16: {error:e}");
        }
    }
}

/// Softmax over the tokens of each head's scores, and the values' mean with these weights.
fn pool(input: &[f64], [n, tokens, width, heads]: [usize; 4]) -> Vec<f64> {
    let (row, depth) = (heads + width, width / heads);
    let mut out = vec![0.0; n * width];
    for (index, out) in out.chunks_mut(depth).enumerate() {
        let (picture, head) = (index / heads, index % heads);
        let tokens = input[picture * tokens * row..][..tokens * row].chunks(row);
        let highest = tokens.clone().map(|t| t[head]).fold(f64::NEG_INFINITY, f64::max);
        let weights = tokens.clone().map(|t| (t[head] - highest).exp());
        let sum: f64 = weights.clone().sum();
        for (token, weight) in tokens.zip(weights) {
            let values = &token[heads + head * depth..][..depth];
            out.iter_mut().zip(values).for_each(|(o, v)| *o += weight / sum * v);
        }
    }
    out
}

fn pool_error<E: Element>(class: KernelClass, random: &mut Random) -> f64 {
    let shape @ [n, tokens, width, heads] = random_shape(random);
    let factor = random.pick(&[0.1, 1.0, 30.0]);
    let values = random.values(n * tokens * (heads + width));
    let input = round::<E>(&values.iter().map(|v| v * factor).collect::<Vec<_>>());
    let pooling = AttentionPool::new(class, tokens, width, heads).unwrap();
    let run = |threads: usize| {
        let mut scratch = vec![f32::NAN; threads * pooling.scratch_len()];
        let mut out = vec![E::from_f32(f32::NAN); n * width];
        pooling.run(&mut Team::new(threads, &mut scratch), n, &input, &mut out).unwrap();
        wide(&out)
    };
    let out = run(1);
    assert_eq!(out, run(3), "threads change no bit");
    rms_error(&out, &pool(&wide(&input), shape))
}

#[test]
fn pooling_matches_the_reference_over_random_shapes() {
    let mut random = Random(22);
    for class in classes() {
        for case in 0..cases(60) {
            let error = pool_error::<f32>(class, &mut random);
            assert!(error <= 1e-5, "case {case}: {class}: {error:e}");
            let error = pool_error::<Bf16>(class, &mut random);
            assert!(error <= 4e-3, "case {case}: {class} bf16: {error:e}");
        }
    }
}

fn squeeze_error<E: Element>(class: KernelClass, random: &mut Random) -> f64 {
    let (n, pixels) = (random.range(0, 3), random.range(1, 40));
    let (channels, reduced) = (random.pick(&[1, 3, 8, 16, 17, 40]), random.pick(&[1, 4, 9]));
    let input = round::<E>(&random.values(n * pixels * channels));
    let [w1, w2] = [(); 2].map(|()| random.values(channels * reduced));
    let (b1, b2) = (random.values(reduced), random.values(channels));
    let sizes = [pixels, channels, reduced];
    let kernel = SqueezeExcite::new(class, sizes, (&w1, &b1), (&w2, &b2)).unwrap();
    let activation = random.pick(&[None, Some(Activation::Relu), Some(Activation::Gelu)]);
    let run = |threads: usize| {
        let mut scratch = vec![f32::NAN; threads * kernel.scratch_len()];
        let mut out = vec![E::from_f32(f32::NAN); input.len()];
        let team = &mut Team::new(threads, &mut scratch);
        kernel.run(team, n, &input, activation, &mut out).unwrap();
        wide(&out)
    };
    let out = run(1);
    assert_eq!(out, run(3), "threads change no bit");
    let mut expected = Vec::new();
    let layer = |w: &[f32], b: &[f32], x: &[f64]| -> Vec<f64> {
        let rows = w.chunks(x.len()).zip(b);
        let sum = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        rows.map(|(w, b)| sum(w) + f64::from(*b)).collect()
    };
    for map in wide(&input).chunks(pixels * channels) {
        let mean = |c| map.iter().skip(c).step_by(channels).sum::<f64>() / pixels as f64;
        let means: Vec<f64> = (0..channels).map(mean).collect();
        let between: Vec<f64> = layer(&w1, &b1, &means).iter().map(|v| v.max(0.0)).collect();
        let factors = layer(&w2, &b2, &between);
        expected.extend(map.iter().enumerate().map(|(i, x)| {
            let y = x / (1.0 + (-factors[i % channels]).exp());
            match activation {
                None => y,
                Some(Activation::Relu) => y.max(0.0),
                _ => 0.5 * y * (1.0 + erf(y / std::f64::consts::SQRT_2)),
            }
        }));
    }
    rms_error(&out, &expected)
}

/// By its power series, which converges fast for the small numbers here.
fn erf(x: f64) -> f64 {
    let term = |n: i32, factor: f64| factor * x.powi(2 * n + 1) / f64::from(2 * n + 1);
    let mut factor = 1.0;
    let mut sum = 0.0;
    for n in 0..60 {
        sum += term(n, factor);
        factor *= -1.0 / f64::from(n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

#[test]
fn squeeze_and_excitation_matches_the_reference_over_random_shapes() {
    let mut random = Random(23);
    for class in classes() {
        for case in 0..cases(80) {
            let error = squeeze_error::<f32>(class, &mut random);
            assert!(error <= 1e-6, "case {case}: {class}: {error:e}");
            let error = squeeze_error::<Bf16>(class, &mut random);
            assert!(error <= 4e-3, "case {case}: {class} bf16: {error:e}");
        }
    }
}

#[test]
fn one_score_above_all_others_takes_the_whole_weight_and_a_nan_stays_in_its_head() {
    let (tokens, width, heads) = (5, 4, 2);
    for class in classes() {
        let attention = Attention::new(class, tokens, width, heads).unwrap();
        let mut scratch = vec![0.0; attention.scratch_len()];
        let mut input = vec![0f32; tokens * 3 * width];
        for token in 0..tokens {
            input[token * 12..][..2].fill(100.0);
            input[token * 12 + 4..][..2].fill(if token == 3 { 50.0 } else { -50.0 });
            input[token * 12 + 8..][..4].fill(token as f32);
        }
        let mut out = vec![0f32; tokens * width];
        let team = &mut Team::serial(&mut scratch);
        attention.run(team, 1, &input, &mut out).unwrap();
        for row in out.chunks(width) {
            assert_eq!(row[..2], [3.0, 3.0], "{class}");
            assert!((row[2] - 2.0).abs() < 1e-6, "{class}: {}", row[2]);
        }
        input[4] = f32::NAN;
        attention.run(&mut Team::serial(&mut scratch), 1, &input, &mut out).unwrap();
        for row in out.chunks(width) {
            assert_eq!(
                row.iter().map(|v| v.is_nan()).collect::<Vec<_>>(),
                [true, true, false, false]
            );
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "rayon's own use of pointers is not what is tested here")]
fn results_do_not_depend_on_threads_or_batch() {
    fn check<E: Element>() {
        let class = Kernels::Auto.resolve().unwrap();
        let (n, tokens, width, heads) = (3, 50, 96, 3);
        let attention = Attention::new(class, tokens, width, heads).unwrap();
        let input = round::<E>(&Random(3).values(n * tokens * 3 * width));
        let run = |threads: usize, n: usize, input: &[E]| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut scratch = vec![0.0; threads * attention.scratch_len()];
            let mut out = vec![E::default(); n * tokens * width];
            pool.install(|| attention.run(&mut Team::current(&mut scratch), n, input, &mut out))
                .unwrap();
            out
        };
        let one = run(1, n, &input);
        for threads in [2, 8] {
            assert_eq!(one, run(threads, n, &input), "{threads} threads");
        }
        for picture in 0..n {
            let alone = run(2, 1, &input[picture * tokens * 3 * width..][..tokens * 3 * width]);
            assert_eq!(one[picture * tokens * width..][..tokens * width], alone);
        }
    }
    check::<f32>();
    check::<Bf16>();
}

#[test]
fn fewer_queries_give_the_first_rows_to_the_bit() {
    let (n, tokens, width, heads) = (2, 37, 24, 3);
    for class in classes() {
        let input = Random(4).values(n * tokens * 3 * width);
        let run = |queries: usize| {
            let attention = Attention::new(class, tokens, width, heads).unwrap().queries(queries);
            let mut scratch = vec![0.0; attention.scratch_len()];
            let mut out = vec![0f32; n * queries * width];
            attention.run(&mut Team::serial(&mut scratch), n, &input, &mut out).unwrap();
            out
        };
        let all = run(tokens);
        for queries in [1, 5, 30] {
            for (some, all) in run(queries).chunks(queries * width).zip(all.chunks(tokens * width))
            {
                assert_eq!(some, &all[..queries * width], "{class}, {queries} queries");
            }
        }
    }
}

#[test]
#[cfg(unix)]
fn attention_and_tokens_stay_inside() {
    fn check<E: Element>(class: KernelClass, random: &mut Random) {
        let [n, tokens, width, heads] = random_shape(random);
        let attention = Attention::new(class, tokens, width, heads).unwrap();
        let input = round::<E>(&random.values(n * tokens * 3 * width));
        let prefix = random.range(0, tokens - 1);
        let map = round::<E>(&random.values(n * (tokens - prefix) * width));
        let pooling = AttentionPool::new(class, tokens, width, heads).unwrap();
        let scored = round::<E>(&random.values(n * tokens * (heads + width)));
        let table = random.values(tokens * width);
        for at_end in [false, true] {
            let input = Guarded::new(&input, at_end);
            let mut out = Guarded::new(&vec![E::default(); n * tokens * width], at_end);
            let mut scratch = Guarded::new(&vec![0.0; attention.scratch_len()], at_end);
            attention.run(&mut Team::serial(&mut scratch), n, &input, &mut out).unwrap();
            let (map, table) = (Guarded::new(&map, at_end), Guarded::new(&table, at_end));
            let scored = Guarded::new(&scored, at_end);
            let mut pooled = Guarded::new(&vec![E::default(); n * width], at_end);
            let mut scratch = Guarded::new(&vec![0.0; pooling.scratch_len()], at_end);
            pooling.run(&mut Team::serial(&mut scratch), n, &scored, &mut pooled).unwrap();
            let (squeezed, sizes) = (Guarded::new(&input, at_end), [tokens, 3 * width, heads]);
            let zeros = vec![0.1; 3 * width * heads];
            let biases = (&zeros[..heads], &zeros[..3 * width]);
            let kernel =
                SqueezeExcite::new(class, sizes, (&zeros, biases.0), (&zeros, biases.1)).unwrap();
            let mut all = Guarded::new(&vec![E::default(); squeezed.len()], at_end);
            let mut scratch = Guarded::new(&vec![0.0; kernel.scratch_len()], at_end);
            let activation = Some(Activation::Gelu);
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, n, &squeezed, activation, &mut all).unwrap();
            let shape = [prefix, tokens - prefix, width];
            let team = &mut Team::serial(&mut []);
            patch_tokens(class, team, n, shape, &table, &map, &mut out).unwrap();
        }
    }
    for class in classes() {
        let mut random = Random(5);
        for _ in 0..cases(40) {
            check::<f32>(class, &mut random);
            check::<Bf16>(class, &mut random);
        }
    }
}

#[test]
fn tokens_are_the_patches_behind_learned_ones_with_their_positions() {
    let mut random = Random(8);
    for class in classes() {
        for _ in 0..cases(30) {
            let (n, patches, width) = (random.range(0, 3), random.range(1, 9), random.range(1, 40));
            let prefix = random.pick(&[0, 1, 1, 5]);
            let tokens = prefix + patches;
            let (table, map) = (random.values(tokens * width), random.values(n * patches * width));
            let mut out = vec![f32::NAN; n * tokens * width];
            let team = &mut Team::new(2, &mut []);
            patch_tokens(class, team, n, [prefix, patches, width], &table, &map, &mut out).unwrap();
            let mut expected = Vec::new();
            for picture in map.chunks(patches * width) {
                let (front, rest) = table.split_at(prefix * width);
                expected.extend(front.iter().map(|&v| f64::from(v)));
                let sums = rest.iter().zip(picture).map(|(a, b)| f64::from(a + b));
                expected.extend(sums);
            }
            assert!(n == 0 || relative_error(&wide(&out), &expected) <= 1e-6);
            let mut first = vec![f32::NAN; n * width];
            class_token(n, [tokens, width], &out, &mut first).unwrap();
            for (row, all) in first.chunks(width).zip(out.chunks(tokens * width)) {
                assert_eq!(row, &all[..width]);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let class = KernelClass::best();
    for (tokens, width, heads) in [(0, 4, 2), (3, 0, 1), (3, 4, 0), (3, 4, 3)] {
        let error = Attention::new(class, tokens, width, heads).unwrap_err();
        assert!(matches!(error, KernelError::BadShape { .. }), "{error}");
    }
    let attention = Attention::new(class, 3, 4, 2).unwrap();
    let mut scratch = vec![0.0; attention.scratch_len()];
    let mut out = [0f32; 12];
    let team = &mut Team::serial(&mut scratch);
    assert!(attention.run(team, 1, &[0f32; 35], &mut out).is_err());
    assert!(attention.run(&mut Team::serial(&mut [0.0; 3]), 1, &[0f32; 36], &mut out).is_err());
    let team = &mut Team::serial(&mut []);
    assert!(patch_tokens(class, team, 1, [1, 2, 4], &[0.0; 8], &[0f32; 8], &mut out).is_err());
    assert!(class_token(1, [3, 4], &out, &mut [0f32; 3]).is_err());
    let fail = |sizes, w: usize, b1: usize, b2: usize| {
        let zeros = [0f32; 12];
        let squeeze = (&zeros[..w], &zeros[..b1]);
        SqueezeExcite::new(class, sizes, squeeze, (&zeros[..w], &zeros[..b2])).is_err()
    };
    assert!(fail([0, 4, 2], 8, 2, 4) && fail([3, 4, 2], 7, 2, 4));
    assert!(fail([3, 4, 2], 8, 3, 4) && fail([3, 4, 2], 8, 2, 3) && !fail([3, 4, 2], 8, 2, 4));
    for (tokens, width, heads) in [(0, 4, 2), (3, 0, 1), (3, 4, 0), (3, 4, 3)] {
        assert!(AttentionPool::new(class, tokens, width, heads).is_err());
    }
    let pooling = AttentionPool::new(class, 3, 4, 2).unwrap();
    let mut scratch = vec![0.0; pooling.scratch_len()];
    let team = &mut Team::serial(&mut scratch);
    assert!(pooling.run(team, 1, &[0f32; 17], &mut [0f32; 4]).is_err());
    assert!(pooling.run(team, 1, &[0f32; 18], &mut [0f32; 3]).is_err());
    assert!(pooling.run(&mut Team::serial(&mut []), 1, &[0f32; 18], &mut [0f32; 4]).is_err());
}
