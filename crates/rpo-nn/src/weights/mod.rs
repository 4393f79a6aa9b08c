//! All tensors of one network, by the name they have in its diffusers / transformers checkpoint; safetensors files.

mod archive;
mod arrangement;
mod header;
mod overwrite;
mod params;
mod placed;
mod precision;
mod scope;
mod write;

pub use archive::Archive;
pub use params::Params;
pub use precision::Precision;
pub use scope::Scope;
pub use write::{Item, MAX_SHARD_SIZE, pt, write, write_sharded};
