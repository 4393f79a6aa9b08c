/// The compressed PTX matches the sources beside it.
#[test]
fn ptx_is_up_to_date() {
    use sha2::{Digest, Sha256};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let mut hasher = Sha256::new();
    for extension in ["cu", "cuh"] {
        for file in files
            .iter()
            .filter(|f| f.extension().is_some_and(|e| e == extension))
        {
            hasher.update(std::fs::read(file).unwrap());
        }
    }
    let hash: String = hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let noted = std::fs::read_to_string(folder.join("ptx/SOURCES")).unwrap();
    assert_eq!(hash, noted.trim(), "run scripts/cuda/ptx.sh");
}
