//! The last layer of a tower.

use candle_core::{Result, Tensor};
use rpo_nn::weights::Scope;
use rpo_nn::{Place, ops};

/// A linear map into the common space.
#[derive(Debug, Clone)]
pub(crate) struct Projection {
    weight: Tensor,
    bias: Option<Tensor>,
    place: Place,
}

impl Projection {
    pub(crate) fn new(
        scope: &Scope,
        from: usize,
        to: usize,
        bias: bool,
        place: &Place,
    ) -> Result<Self> {
        let bias = bias.then(|| place.enter(&scope.tensor("bias", &[to])?));
        Ok(Self {
            weight: place.enter(&scope.tensor("weight", &[to, from])?)?,
            bias: bias.transpose()?,
            place: place.clone(),
        })
    }

    /// `x` on the CPU or at the projection's place; the result is on the CPU.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.place.enter(x)?;
        self.place
            .leave(&ops::linear(&x, &self.weight, self.bias.as_ref())?)
    }
}
