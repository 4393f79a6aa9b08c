//! Values in both directions.

use super::common::{hollow, micro, parts, unet, vae};
use rpo_diffusion::checkpoint::{Family, Names, family, to_file, to_folders};
use rpo_nn::weights::{Archive, Item, Precision, pt, write};
use std::collections::BTreeMap;
use tempfile::TempDir;

#[test]
fn a_model_goes_into_a_file_and_comes_back_bit_for_bit() {
    let dir = TempDir::new().unwrap();
    for kind in [Family::Sd1, Family::Sd2, Family::Sdxl] {
        let (model, names) = micro(kind);
        let path = dir.path().join("model.safetensors");
        write(
            &path,
            &to_file(&names, parts(&model)).unwrap(),
            Precision::F32,
            &pt(),
        )
        .unwrap();
        let archive = Archive::open(&path).unwrap();
        assert_eq!(family(&archive).unwrap(), kind);
        let back = to_folders(&names, &archive).unwrap();
        assert!(back.passed_over.is_empty());
        for ((part, want), (name, got)) in parts(&model).iter().zip(&back.parts) {
            assert_eq!(part, name);
            let value = |items: &[Item]| -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
                let bare = |name: &str| name.strip_prefix("text_model.").unwrap_or(name).to_owned();
                items
                    .iter()
                    .map(|i| (bare(&i.name), (i.shape.clone(), i.values().unwrap())))
                    .collect()
            };
            assert!(value(want) == value(got), "{kind:?} {part}");
        }
    }
}

#[test]
fn fused_rows_transposed_projection_and_kernels() {
    let names = Names::new(Family::Sdxl, &unet("sdxl"), &vae(), 1);
    let map = |part: &str| {
        &names
            .parts
            .iter()
            .find(|(name, _)| *name == part)
            .unwrap()
            .1
    };
    let matrix = |name: &str, from: f32| {
        Item::new(name, [2, 2], move || {
            Ok((0..4).map(|i| from + i as f32).collect())
        })
    };
    let attention = "text_model.encoder.layers.0.self_attn";
    let of = |order: [&str; 3]| {
        let start = |m: &str| ["q", "k", "v"].iter().position(|n| *n == m).unwrap() as f32 * 10.0;
        let items = order.map(|m| matrix(&format!("{attention}.{m}_proj.weight"), start(m)));
        map("text_encoder_2").to_file(items.into(), "dir").unwrap()
    };
    // Query, key, value, in any order.
    for order in [["q", "k", "v"], ["v", "q", "k"]] {
        let fused = of(order);
        assert_eq!(fused.len(), 1);
        assert_eq!(
            fused[0].name,
            "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
        );
        assert_eq!(fused[0].shape, [6, 2]);
        assert_eq!(
            fused[0].values().unwrap(),
            [0., 1., 2., 3., 10., 11., 12., 13., 20., 21., 22., 23.]
        );
    }
    let back = map("text_encoder_2")
        .to_folder(of(["q", "k", "v"]), &mut vec![], "file")
        .unwrap();
    assert_eq!(back[1].name, format!("{attention}.k_proj.weight"));
    assert_eq!(
        (back[1].shape.as_slice(), back[1].values().unwrap()),
        (&[2, 2][..], vec![10., 11., 12., 13.])
    );
    let missing = vec![matrix(&format!("{attention}.q_proj.weight"), 0.0)];
    let message = map("text_encoder_2")
        .to_file(missing, "dir")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("dir") && message.contains("in_proj_weight"),
        "{message}"
    );

    let wide = || {
        Item::new("text_projection.weight", [2, 3], || {
            Ok(vec![1., 2., 3., 4., 5., 6.])
        })
    };
    let turned = map("text_encoder_2").to_file(vec![wide()], "dir").unwrap();
    assert_eq!(
        turned[0].name,
        "conditioner.embedders.1.model.text_projection"
    );
    assert_eq!(
        (turned[0].shape.as_slice(), turned[0].values().unwrap()),
        (&[3, 2][..], vec![1., 4., 2., 5., 3., 6.])
    );
    let back = map("text_encoder_2")
        .to_folder(turned, &mut vec![], "file")
        .unwrap();
    assert_eq!(
        (back[0].shape.as_slice(), back[0].values().unwrap()),
        (&[2, 3][..], wide().values().unwrap())
    );

    // Both names used in folders, and a matrix that is already a kernel.
    let to_q = "encoder.mid_block.attentions.0.to_q.weight";
    for (name, shape) in [
        (to_q, vec![2, 2]),
        ("encoder.mid_block.attentions.0.query.weight", vec![2, 2]),
        (to_q, vec![2, 2, 1, 1]),
    ] {
        let file = map("vae")
            .to_file(vec![hollow(name, &shape)], "dir")
            .unwrap();
        assert_eq!(
            file[0].name,
            "first_stage_model.encoder.mid.attn_1.q.weight"
        );
        assert_eq!(file[0].shape, [2, 2, 1, 1]);
        let back = map("vae").to_folder(file, &mut vec![], "file").unwrap();
        assert_eq!(
            (back[0].name.as_str(), back[0].shape.as_slice()),
            (to_q, &[2, 2][..])
        );
    }
    let message = map("unet")
        .to_file(vec![hollow("surprise.weight", &[1])], "dir")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("dir") && message.contains("surprise.weight"),
        "{message}"
    );
}
