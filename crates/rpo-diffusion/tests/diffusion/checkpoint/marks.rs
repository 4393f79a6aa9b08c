//! Marks of what a file's U-Net predicts.

use rpo_diffusion::PredictionType::{Epsilon, Sample, VPrediction};
use rpo_diffusion::checkpoint::{Marks, marks};
use rpo_nn::weights::{Archive, Item, Precision, write};
use std::collections::BTreeMap;
use tempfile::TempDir;

fn of(tensors: &[&str], metadata: &[(&str, &str)]) -> Result<Marks, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.safetensors");
    let empty = |name: &&str| Item::new(*name, [0], || Ok(vec![]));
    let items: Vec<Item> = tensors.iter().map(empty).collect();
    let metadata: BTreeMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    write(&path, &items, Precision::F16, &metadata).unwrap();
    marks(&Archive::open(&path).unwrap()).map_err(|e| e.to_string())
}

#[test]
fn predictions_are_read_in_every_spelling() {
    for key in ["modelspec.prediction_type", "modelspec.predict_key"] {
        for (value, prediction) in [
            ("v", VPrediction),
            ("V", VPrediction),
            ("v_prediction", VPrediction),
            ("v-prediction", VPrediction),
            ("epsilon", Epsilon),
            ("eps", Epsilon),
            ("sample", Sample),
        ] {
            let found = of(&[], &[(key, value)]).unwrap();
            assert_eq!(found.prediction.unwrap().0, prediction, "{value}");
            assert!(!found.zero_snr);
        }
        let said = of(&[], &[(key, "flow")]).unwrap_err();
        assert!(said.contains(key) && said.contains("`flow`"), "{said}");
        assert_eq!(of(&[], &[(key, "")]).unwrap(), Marks::default());
    }
    let found = of(&["state_dict.v_pred", "ztsnr"], &[]).unwrap();
    assert_eq!(found.prediction.unwrap().0, VPrediction);
    assert!(found.zero_snr);
}

#[test]
fn marks_that_cannot_be_meant_are_refused() {
    let said = of(&["v_pred"], &[("modelspec.prediction_type", "epsilon")]).unwrap_err();
    assert!(
        said.contains("v_pred") && said.contains("epsilon"),
        "{said}"
    );
    for name in ["edm_vpred.sigma_max", "edm_mean"] {
        let said = of(&[name], &[]).unwrap_err();
        assert!(
            said.contains(name) && said.contains("file.safetensors"),
            "{said}"
        );
    }
}
