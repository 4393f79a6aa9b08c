//! Which file of a folder is the LoRA.

use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{Error, Result, bail};

use super::peft;

/// The file that peft writes, beside its configuration.
const PEFT_FILE: &str = "adapter_model.safetensors";

/// Endings of files that PyTorch writes.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "ckpt", "pkl"];

/// The file itself, peft's in a folder of peft, or the only safetensors file of another folder.
///
/// # Errors
/// If there is none or more than one, with what is there.
pub(super) fn lora_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let label = path.display();
    let peft = path.join(PEFT_FILE);
    if peft.is_file() && path.join(peft::FILE).is_file() {
        return Ok(peft);
    }
    let all = entries(path).map_err(|e| Error::msg(format!("{label}: cannot be read: {e}")))?;
    let ends = |file: &Path, ends: &[&str]| {
        let end = file.extension().and_then(|e| e.to_str());
        end.is_some_and(|e| ends.contains(&e)) && !file.is_dir()
    };
    let weights = |files: &[PathBuf]| -> Vec<PathBuf> {
        let safetensors = files.iter().filter(|file| ends(file, &["safetensors"]));
        safetensors.cloned().collect()
    };
    let found = weights(&all);
    match found.as_slice() {
        [file] => return Ok(file.clone()),
        [] => {}
        several => bail!(
            "{label}: a folder of {} safetensors files; name the one that is meant",
            several.len()
        ),
    }
    if let Some(pickle) = all.iter().find(|file| ends(file, &PICKLES)) {
        bail!("{}", refuse_pickle(pickle))
    }
    let below = all.iter().find(|folder| {
        folder.is_dir() && entries(folder).is_ok_and(|files| !weights(&files).is_empty())
    });
    match below {
        Some(folder) => bail!(
            "{label}: a folder without a LoRA file\n  hint: {} has one",
            folder.display()
        ),
        None => bail!("{label}: a folder without a LoRA file; name the .safetensors file"),
    }
}

/// Refuses a file in PyTorch's own format.
///
/// # Errors
/// If the file is one, with the way to convert it.
pub(super) fn refuse_pickled(path: &Path) -> Result<()> {
    let mut start = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    // A zip archive, or protocols 2 to 5 of pickle itself: no header of a safetensors file is as long as these bytes would say.
    let pickled = start.starts_with(b"PK\x03\x04")
        || start[0] == 0x80 && matches!(start[1], 2..=5) && start[7] != 0;
    if read.is_ok() && pickled {
        bail!("{}", refuse_pickle(path))
    }
    Ok(())
}

fn refuse_pickle(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path}: a pickle of PyTorch, which can run any program when it is opened, so it is not read here\n  hint: convert it where you trust it: python -c \"import sys, torch; from safetensors.torch import save_file; save_file(torch.load(sys.argv[1], weights_only=True), sys.argv[2])\" '{path}' lora.safetensors"
    )
}

/// The entries of a folder, sorted.
fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    all.sort();
    Ok(all)
}
