//! JSON and text files of a folder, with errors that name file, key and the form wanted.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use candle_core::{Error, Result, bail};
use serde::de::DeserializeOwned;

/// The largest file of text that is read, in bytes: a hundred times a large vocabulary.
const LARGEST: u64 = 256 << 20;

/// Reads the JSON file `name` of the folder `dir`.
///
/// # Errors
/// If the file is missing, is not JSON, or does not fit `T`; with the file, the key, the form wanted and a hint.
pub fn read_json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T> {
    let path = dir.join(name);
    let text = read_plain(dir, name)?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let read = serde_path_to_error::deserialize(&mut json);
    let value = read.map_err(|error| {
        let key = error.path().to_string();
        let place = if key == "." {
            "at its top level".to_string()
        } else {
            format!("key `{key}`")
        };
        Error::msg(format!(
            "{}, {place}: {}\n  hint: compare with the same file of a folder that transformers or diffusers wrote",
            path.display(),
            plain(&error.inner().to_string())
        ))
    })?;
    json.end()
        .map_err(|error| Error::msg(format!("{}, after its end: {error}", path.display())))?;
    Ok(value)
}

/// Reads `config.json` of the folder `dir`; see [`read_json`].
///
/// # Errors
/// As [`read_json`].
pub fn read_config<T: DeserializeOwned>(dir: &Path) -> Result<T> {
    read_json(dir, "config.json")
}

/// Reads the text file `name` of the folder `dir`, which must not begin with a byte-order mark.
///
/// # Errors
/// As [`read_text`]. A mark would be read as part of the first word, and Python's JSON refuses it.
pub fn read_plain(dir: &Path, name: &str) -> Result<String> {
    let text = read_text(dir, name)?;
    if text.starts_with('\u{feff}') {
        bail!(
            "{} begins with a byte-order mark, which transformers does not read either\n  hint: save the file as UTF-8 without it",
            dir.join(name).display()
        );
    }
    Ok(text)
}

/// Reads the text file `name` of the folder `dir`, of at most 256 MiB, with an error that says which file was expected where.
///
/// # Errors
/// If the file is missing, is none, may not be read, is too large or is not UTF-8.
pub fn read_text(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    let (shown, folder) = (path.display(), dir.display());
    let mut bytes = Vec::new();
    let read = (|| {
        // A pipe or a device could be waited for or read for ever.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(std::io::Error::new(
                ErrorKind::InvalidInput,
                "it is no file",
            ));
        }
        File::open(&path)?.take(LARGEST + 1).read_to_end(&mut bytes)
    })();
    if let Err(error) = read {
        let hint = match error.kind() {
            _ if !dir.is_dir() => format!("there is no folder {folder}: check the path"),
            ErrorKind::NotFound => format!(
                "a model folder in transformers layout holds `{name}`: copy the folder as a whole"
            ),
            ErrorKind::PermissionDenied => "allow this user to read it".to_owned(),
            _ => "copy the folder again".to_owned(),
        };
        bail!("cannot read {shown}: {error}\n  hint: {hint}");
    }
    if bytes.len() as u64 > LARGEST {
        bail!(
            "cannot read {shown}: it has more than {LARGEST} bytes, which no file of this name needs"
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Error::msg(format!(
            "cannot read {shown}: it is not UTF-8 from byte {place} on\n  hint: the file is damaged, or is not the text file that its name says; copy it again"
        ))
    })
}

/// A message of serde in words that do not need Rust.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 22] = [
        ("expected usize", "expected a whole number from 0"),
        (
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        ),
        ("expected u64", "expected a whole number from 0"),
        ("expected i64", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list [...]"),
        ("expected a map", "expected an object {...}"),
        ("expected a string", "expected a text in quotes"),
        ("expected struct", "expected an object {...} for"),
        ("expected an array of length", "expected a list of length"),
        ("invalid type: null", "found null"),
        ("invalid type: sequence", "found a list"),
        ("invalid type: map", "found an object"),
        ("invalid type: string", "found the text"),
        ("invalid type: boolean", "found"),
        ("invalid type: integer", "found the number"),
        ("invalid type: floating point", "found the number"),
        ("invalid value: integer", "found the number"),
        ("invalid value: floating point", "found the number"),
        ("invalid length", "found a list of length"),
    ];
    // What stands in the file is quoted after these words, and is left as it is.
    let (mut said, mut rest) = (String::new(), message);
    for (from, to) in WORDS.iter().filter(|(from, _)| from.starts_with("invalid")) {
        if let Some(tail) = rest.strip_prefix(from) {
            said = (*to).to_owned();
            rest = tail;
            break;
        }
    }
    let Some(place) = rest.rfind("expected ") else {
        return said + rest;
    };
    let (found, wanted) = rest.split_at(place);
    let wanted = WORDS
        .iter()
        .find_map(|(from, to)| Some(format!("{to}{}", wanted.strip_prefix(from)?)));
    match wanted {
        Some(wanted) => said + found + &wanted,
        None => said + rest,
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn messages_say_the_form_wanted() {
        let of = |json: &str| {
            plain(
                &serde_json::from_str::<Vec<usize>>(json)
                    .unwrap_err()
                    .to_string(),
            )
        };
        assert_eq!(
            of("[\"expected usize\"]"),
            "found the text \"expected usize\", expected a whole number from 0 at line 1 column 17"
        );
        assert!(of("[-1]").starts_with("found the number `-1`, expected a whole number from 0 at"));
        assert!(of("{}").starts_with("found an object, expected a list [...] at"));
        assert!(of("[1").starts_with("EOF while parsing"));
    }
}
