//! All tensors of one network, by the name they have in its diffusers / transformers checkpoint.

mod file;
mod params;
mod scope;

pub(crate) use file::{Stored, read, write};
pub use params::Params;
pub use scope::Scope;
