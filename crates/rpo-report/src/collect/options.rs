//! What a caller of the report may change.

/// How results are shown, where it differs from the experiment file.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The row that others are compared with.
    pub baseline: Option<String>,
    /// Half-width of the equivalence tests.
    pub margin: Option<f64>,
}
