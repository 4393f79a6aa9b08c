//! Every tensor has exactly one counterpart.

use super::common::{Row, golden, hollow, named, published};
use rpo_diffusion::checkpoint::{Change, Counterpart};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn every_tensor_of_the_published_models_has_its_place_both_ways() {
    let golden = golden();
    for (names, lists) in published() {
        for ((part, map), list) in names.parts.iter().zip(lists) {
            let rows = &golden[list];
            let prefixed = |row: &Row| format!("{}{}", map.prefix(), row.file);
            for row in rows {
                for (i, name) in row.folder.iter().enumerate() {
                    let bare = name.strip_prefix("text_model.").unwrap_or(name);
                    for name in [name.as_str(), bare] {
                        let file = match map.counterpart(name) {
                            Some(Counterpart::Whole(file, change)) => {
                                let kernel = row.file_shape != row.folder_shape;
                                let want = match row.file.as_str() {
                                    "text_projection" => Change::Transpose,
                                    _ if kernel => Change::Kernel,
                                    _ => Change::None,
                                };
                                assert_eq!(change, want, "{list} {name}");
                                file
                            }
                            Some(Counterpart::Third(file, third)) => {
                                assert_eq!((third, row.folder.len()), (i, 3), "{list} {name}");
                                file
                            }
                            None => panic!("{list}: {name} has no place"),
                        };
                        assert_eq!(file, prefixed(row), "{list} {name}");
                    }
                }
                let (origin, _) = map
                    .origin(&prefixed(row))
                    .unwrap_or_else(|| panic!("{list}: {} has no origin", row.file));
                assert_eq!(origin, row.folder, "{list} {}", row.file);
            }
            // As a whole, with shapes.
            let folder: Vec<(&str, &[usize])> = rows
                .iter()
                .flat_map(|row| {
                    row.folder
                        .iter()
                        .map(|n| (n.as_str(), row.folder_shape.as_slice()))
                })
                .collect();
            let items = folder
                .iter()
                .map(|(name, shape)| hollow(name, shape))
                .collect();
            let file = map.to_file(items, part).unwrap();
            let want: BTreeMap<_, _> = rows
                .iter()
                .map(|row| (prefixed(row), row.file_shape.clone()))
                .collect();
            assert_eq!(named(&file), want, "{list}");
            let mut rest = vec![hollow("other", &[1])];
            let back = map.to_folder(file, &mut rest, part).unwrap();
            assert_eq!(rest.len(), 1);
            let want: BTreeMap<_, _> = folder
                .iter()
                .map(|(n, s)| ((*n).to_owned(), s.to_vec()))
                .collect();
            assert_eq!(named(&back), want, "{list}");
        }
    }
    assert_eq!(golden["sd1/unet"].len(), 686);
    assert_eq!(golden["sdxl/unet"].len(), 1680);
}

#[test]
fn parts_do_not_take_each_others_tensors() {
    for (names, lists) in published() {
        let golden = golden();
        let mut seen = BTreeSet::new();
        for ((_, map), list) in names.parts.iter().zip(lists) {
            for row in &golden[list] {
                let file = format!("{}{}", map.prefix(), row.file);
                let owners = names
                    .parts
                    .iter()
                    .filter(|(_, map)| map.origin(&file).is_some());
                assert_eq!(owners.count(), 1, "{file}");
                assert!(seen.insert(file));
            }
        }
    }
}
