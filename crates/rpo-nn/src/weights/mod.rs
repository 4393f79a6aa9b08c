//! All tensors of one network, by their names in its diffusers / transformers checkpoint; safetensors files.

mod archive;
mod arrangement;
mod contents;
mod header;
mod overlay;
mod overwrite;
mod params;
mod part;
mod placed;
mod precision;
mod scope;
mod tensors;
mod write;

pub use archive::Archive;
pub use contents::{Contents, Stored};
pub(crate) use overlay::{Controls, Overlay};
pub use params::Params;
pub use precision::Precision;
pub use scope::Scope;
pub use write::{Item, MAX_SHARD_SIZE, pt, to_bytes, write, write_sharded};
