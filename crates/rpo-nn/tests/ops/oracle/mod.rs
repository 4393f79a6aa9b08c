//! Naive f64 arithmetic and the comparison of an operation with it.

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// A dense f64 array, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) data: Vec<f64>,
    pub(crate) dims: Vec<usize>,
}

impl Array {
    pub(crate) fn zeros(dims: &[usize]) -> Self {
        Self {
            data: vec![0.0; dims.iter().product()],
            dims: dims.to_vec(),
        }
    }

    /// Uniform in [-1, 1], rounded to f32 so that both sides see the same numbers.
    pub(crate) fn random(seed: u64, dims: &[usize]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut a = Self::zeros(dims);
        a.data
            .iter_mut()
            .for_each(|v| *v = f64::from(rng.random_range(-1f32..1.0)));
        a
    }

    pub(crate) fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        // Rounded for the same reason.
        self.data
            .iter_mut()
            .for_each(|v| *v = f64::from(f(*v) as f32));
        self
    }

    pub(crate) fn last(&self) -> usize {
        *self.dims.last().unwrap()
    }

    pub(crate) fn rows(&self) -> usize {
        self.data.len() / self.last()
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.last()..][..self.last()]
    }

    pub(crate) fn at(&self, index: &[usize]) -> f64 {
        self.data[self.offset(index)]
    }

    pub(crate) fn offset(&self, index: &[usize]) -> usize {
        assert_eq!(index.len(), self.dims.len());
        index.iter().zip(&self.dims).fold(0, |o, (&i, &d)| {
            assert!(i < d);
            o * d + i
        })
    }

    /// An array of `dims` from a function of the index.
    pub(crate) fn build(dims: &[usize], f: impl Fn(&[usize]) -> f64) -> Self {
        let mut a = Self::zeros(dims);
        let mut index = vec![0; dims.len()];
        for v in &mut a.data {
            *v = f(&index);
            for (i, &d) in index.iter_mut().zip(dims).rev() {
                *i += 1;
                if *i < d {
                    break;
                }
                *i = 0;
            }
        }
        a
    }

    pub(crate) fn values(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    pub(crate) fn tensor(&self) -> Tensor {
        Tensor::from_vec(self.values(), self.dims.as_slice(), &Device::Cpu).unwrap()
    }

    pub(crate) fn var(&self) -> Var {
        Var::from_vec(self.values(), self.dims.as_slice(), &Device::Cpu).unwrap()
    }
}

/// erf by its all-positive series.
pub(crate) fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut total, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * total.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        total += term;
    }
    total * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp()
}

pub(crate) fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, relative to the largest number of `want`.
pub(crate) fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(1e-30, |m: f64, w| m.max(w.abs()));
    got.iter().zip(want).fold(0.0, |m: f64, (&g, w)| {
        let d = (f64::from(g) - w).abs() / size;
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    })
}

/// Forward values and the gradients of sum(weights · y) with respect to the inputs that are `tracked`.
fn run(
    inputs: &[Array],
    tracked: &[bool],
    weights: &Array,
    op: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> (Tensor, Vec<Option<Vec<f32>>>) {
    let tensors: Vec<Tensor> = inputs
        .iter()
        .zip(tracked)
        .map(|(a, &t)| if t { a.var().into_inner() } else { a.tensor() })
        .collect();
    let y = op(&tensors).unwrap();
    let grads = (&y * weights.tensor())
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let grads = tensors.iter().map(|t| grads.get(t).map(values)).collect();
    (y, grads)
}

/// Compares `op` with `oracle` within `tolerance` (relative to the largest number of each array): the values; the gradient of
/// every input against central differences of the oracle; and that freezing any input removes its gradient and changes no bit
/// of the others.
pub(crate) fn check(
    name: &str,
    inputs: &[Array],
    tolerance: f64,
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
    oracle: impl Fn(&[Array]) -> Array,
) {
    rpo_nn::poison_results();
    let want = oracle(inputs);
    let weights = Array::random(99, &want.dims);
    let all = vec![true; inputs.len()];
    let (y, grads) = run(inputs, &all, &weights, &op);
    assert_eq!(y.dims(), want.dims, "{name}: shape");
    let error = distance(&values(&y), &want.data);
    assert!(error <= tolerance, "{name}: forward differs by {error:.2e}");

    let loss = |inputs: &[Array]| -> f64 {
        oracle(inputs)
            .data
            .iter()
            .zip(&weights.data)
            .map(|(y, w)| y * w)
            .sum()
    };
    let mut rng = StdRng::seed_from_u64(7);
    for (i, grad) in grads.iter().enumerate() {
        let grad = grad
            .as_ref()
            .unwrap_or_else(|| panic!("{name}: input {i} has no gradient"));
        let size = grad.iter().fold(0f32, |m, g| m.max(g.abs()));
        assert!(size > 0.0, "{name}: the gradient of input {i} is 0");
        for _ in 0..40 {
            let j = rng.random_range(0..grad.len());
            let step = 1e-5;
            let side = |sign: f64| {
                let mut moved = inputs.to_vec();
                moved[i].data[j] += sign * step;
                loss(&moved)
            };
            let slope = (side(1.0) - side(-1.0)) / (2.0 * step);
            let error = (f64::from(grad[j]) - slope).abs() / f64::from(size);
            // Central differences of f64 sums are themselves good to about 1e-9.
            assert!(
                error <= tolerance + 1e-8,
                "{name}: input {i} [{j}]: gradient {}, slope {slope}: {error:.2e}",
                grad[j]
            );
        }
    }

    for frozen in 0..inputs.len() {
        let mut tracked = all.clone();
        tracked[frozen] = false;
        if !tracked.contains(&true) {
            continue;
        }
        let (_, some) = run(inputs, &tracked, &weights, &op);
        for (i, grad) in some.iter().enumerate() {
            if i == frozen {
                assert!(grad.is_none(), "{name}: frozen input {i} has a gradient");
            } else {
                assert_eq!(
                    grad, &grads[i],
                    "{name}: gradient {i} with input {frozen} frozen"
                );
            }
        }
    }
}

/// The bits of the values and of all gradients are those of one thread on two and on three.
pub(crate) fn check_threads(
    name: &str,
    inputs: &[Array],
    op: impl Fn(&[Tensor]) -> Result<Tensor> + Sync,
) {
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let plain: Vec<Tensor> = inputs.iter().map(Array::tensor).collect();
            let weights = Array::random(99, op(&plain).unwrap().dims());
            let (y, grads) = run(inputs, &vec![true; inputs.len()], &weights, &op);
            (values(&y), grads)
        })
    };
    let one = bits(1);
    for threads in [2, 3] {
        let more = bits(threads);
        assert!(
            one.0 == more.0,
            "{name}: values differ on {threads} threads"
        );
        assert!(
            one.1 == more.1,
            "{name}: gradients differ on {threads} threads"
        );
    }
}
