//! Matrix products.
//!
//! The right-hand side is arranged in panels of as many columns as two registers hold ([`Panels`]); the left-hand side is read
//! in place. Every element of a result is one sum in the order of the inner dimension, however the work is shared: it depends
//! neither on the number of rows nor on the other columns. Only [`product_long`] may split that sum.

mod kernel;
mod panels;
mod share;
mod strided;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use panels::{Panels, product};
pub(crate) use share::{
    FEW_ROWS, is_arranged_once, keep, product_keeping, product_long, product_new, product_parallel,
};
pub(crate) use strided::Matrix;
pub(crate) use tile::Start;
