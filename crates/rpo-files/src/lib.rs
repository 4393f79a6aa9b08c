//! Atomic writes, checksums and locks on folders, for every crate that writes to disk; and the two kinds of failure.

pub mod failure;
pub mod input;
mod lock;
pub mod output;
pub mod printable;
mod sums;
mod temporary;
mod write;

pub use lock::{Lock, LockError};
pub use sums::{SUMS, check_sum, check_sums, write_summed, write_sums};
pub use temporary::{sweep, temporary_folder};
pub use write::{refuse_unless_plain, same_file, write, write_with};
