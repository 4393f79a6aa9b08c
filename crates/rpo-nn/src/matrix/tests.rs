use super::*;
use crate::kept::{Changes, Kept};
use crate::vector::Level;
use rand::{Rng, SeedableRng, rngs::StdRng};

fn random(rng: &mut StdRng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn at(a: Matrix<'_>, r: usize, c: usize) -> f64 {
    f64::from(a.data[r * a.row_stride + c * a.col_stride])
}

/// start + a b and the sum of the absolute values of all terms, in f64.
fn naive(a: Matrix<'_>, b: Matrix<'_>, start: impl Fn(usize, usize) -> f32) -> Vec<(f64, f64)> {
    let (start, mut sums) = (&start, vec![]);
    for r in 0..a.rows {
        for c in 0..b.cols {
            let first = f64::from(start(r, c));
            let terms = (0..a.cols).map(|k| at(a, r, k) * at(b, k, c));
            sums.push(terms.fold((first, first.abs()), |(s, t), x| (s + x, t + x.abs())));
        }
    }
    sums
}

/// The error of a sum in order is below its length times half the precision times the sum of the absolute values.
fn check(got: &[f32], want: &[(f64, f64)], k: usize, what: &str) {
    for (i, (got, (want, size))) in got.iter().zip(want).enumerate() {
        let bound = (k + 1) as f64 * 2f64.powi(-24) * size;
        let error = (f64::from(*got) - want).abs();
        assert!(error <= bound, "{what}, element {i}: {got} is not {want}");
    }
}

/// A `rows` x `cols` matrix, row by row or column by column, its rows or columns `apart` elements apart if they are not longer.
fn matrix(data: &[f32], rows: usize, cols: usize, turned: bool, apart: usize) -> Matrix<'_> {
    if turned {
        Matrix::strided(data, cols, rows, apart.max(rows)).t()
    } else {
        Matrix::strided(data, rows, cols, apart.max(cols))
    }
}

#[test]
fn every_level_layout_and_start_is_the_sum_in_f64() {
    let mut rng = StdRng::seed_from_u64(1);
    let data = [random(&mut rng, 2_700_000), random(&mut rng, 40_000)];
    let sizes = [
        [1, 1, 1],
        [2, 3, 0],
        [5, 16, 7],
        [12, 32, 64],
        [13, 33, 65],
        [97, 70, 31],
        [25, 17, 1300],
        [130, 4, 20],
    ];
    for level in Level::all() {
        for [m, n, k] in sizes {
            for (turned, apart) in [(false, 0), (false, 1024), (true, 0), (true, 1024)] {
                let apart = if k > 1024 { 2 * apart } else { apart };
                let a = matrix(&data[0], m, k, turned, apart);
                let b = matrix(&data[1], k, n, !turned, 0);
                let (bias, before) = (random(&mut rng, n), random(&mut rng, m * n));
                for start in [Start::Zero, Start::Bias(&bias), Start::Out] {
                    let guard = 40;
                    let mut out = vec![f32::NAN; m * n + guard];
                    if let Start::Out = start {
                        out[..m * n].copy_from_slice(&before);
                    }
                    Panels::with_at(level, b, |b| b.product(&mut out[..m * n], a, start));
                    let want = naive(a, b, |r, c| match start {
                        Start::Zero => 0.0,
                        Start::Bias(bias) => bias[c],
                        Start::Out => before[r * n + c],
                    });
                    let what = format!("{level:?} {m} x {n} x {k} {turned} {apart}");
                    check(&out[..m * n], &want, k, &what);
                    assert!(out[m * n..].iter().all(|x| x.is_nan()), "{what}");
                }
            }
        }
    }
}

/// Sizes on both sides of every threshold of work sharing.
#[test]
fn an_element_is_the_same_sum_however_the_work_is_shared() {
    let mut rng = StdRng::seed_from_u64(2);
    for [m, n, k] in [[700, 300, 900], [40, 1030, 1024], [520, 90, 70]] {
        let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
        let bias = random(&mut rng, n);
        let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&w, n, k).t());
        let mut want = vec![f32::NAN; m * n];
        product(&mut want, a, b, Start::Bias(&bias));
        let all = product_keeping(a, b, Some(&bias), &Kept::default());
        assert!(all == want, "shared {m} x {n} x {k}");
        let kept = Kept::when(Some(Changes::default()));
        for _ in 0..2 {
            assert!(product_keeping(a, b, Some(&bias), &kept) == want, "kept");
        }
        let few = product_keeping(a.some_rows(3, 30), b, Some(&bias), &kept);
        assert!(few == want[3 * n..33 * n], "few rows {m} x {n} x {k}");
    }
}

#[test]
fn long_inner_dimensions_are_the_sum_in_f64() {
    let mut rng = StdRng::seed_from_u64(3);
    for [m, n, k] in [[20, 24, 40_000], [64, 64, 5000], [512, 640, 77]] {
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, n * k));
        let (a, b) = (Matrix::new(&a, k, m).t(), Matrix::new(&b, k, n));
        check(&product_long(a, b), &naive(a, b, |_, _| 0.0), k, "long");
    }
}

#[test]
fn some_columns_are_those_of_the_whole() {
    let mut rng = StdRng::seed_from_u64(4);
    let (width, k, m) = (Panels::width(), 9, 7);
    let n = 3 * width + 5;
    let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
    let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
    let panels = Panels::arrange(b);
    let panels = Panels::arranged(&panels, k, n);
    let mut all = vec![f32::NAN; m * n];
    panels.product(&mut all, a, Start::Zero);
    for cols in [width..2 * width, 2 * width..n, 0..n] {
        let mut some = vec![f32::NAN; m * cols.len()];
        panels.some(cols.clone()).product(&mut some, a, Start::Zero);
        for (all, some) in all.chunks(n).zip(some.chunks(cols.len())) {
            assert_eq!(all[cols.clone()], *some);
        }
    }
}
