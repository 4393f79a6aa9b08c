//! What every program needs of the system: atomic writes, checksums and locks on folders; messages about files, on a console that
//! may be closed; and exit codes.

mod cause;
mod claim;
pub mod console;
pub mod destination;
pub mod failure;
mod file_error;
pub mod input;
mod lock;
mod nearest;
pub mod output;
pub mod printable;
pub mod program;
mod spelling;
mod sums;
mod temporary;
mod write;

pub use claim::Claim;
pub use file_error::{AtPath, FileError};
pub use lock::{Lock, LockError};
pub use nearest::nearest;
pub use spelling::odd_spelling;
pub use sums::{SUMS, check_sum, check_sums, write_summed, write_sums};
pub use temporary::{TemporaryFolder, look_again, sweep, sweep_abandoned, temporary_folder};
pub use write::{refuse_unless_plain, same_file, write, write_via, write_with};
