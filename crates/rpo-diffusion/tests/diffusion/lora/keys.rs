//! Names of the released architectures, in both directions.

use super::common::{architectures, shapes};
use candle_core::Result;
use rpo_diffusion::lora::{LoraConfig, Numbering, from_kohya, to_kohya};

#[test]
fn the_released_architectures_have_the_known_modules() -> Result<()> {
    let all = architectures();
    let attention = LoraConfig {
        rank: 4,
        alpha: 4.0,
        targets: LoraConfig::ATTENTION.map(str::to_owned).into(),
        dropout: 0.0,
        init: Default::default(),
    };
    for (name, modules, layers) in [("sd15", 128, 282), ("sd21", 128, 282)] {
        let architecture = &all[name];
        assert_eq!(architecture["layers"], layers);
        assert_eq!(
            attention.modules(&shapes(architecture))?.len(),
            modules,
            "{name}"
        );
        assert_eq!(architecture["attention"], modules);
    }
    assert_eq!(all["sdxl"]["attention"], 560);
    let projections = LoraConfig {
        targets: vec!["proj_in".into()],
        ..attention
    };
    for (name, dimensions) in [("sd15", 4), ("sd21", 2), ("sdxl", 2)] {
        let shapes = shapes(&all[name]);
        for module in projections.modules(&shapes)? {
            let shape = shapes
                .iter()
                .find(|(n, _)| *n == format!("{module}.weight"));
            assert_eq!(shape.unwrap().1.len(), dimensions, "{name} {module}");
        }
    }
    Ok(())
}

#[test]
fn every_module_of_the_released_architectures_has_a_kohya_key_and_back() -> Result<()> {
    let all = architectures();
    for name in ["sd15", "sd21", "sdxl"] {
        for (module, _) in shapes(&all[name]) {
            let module = module.strip_suffix(".weight").unwrap();
            let key = to_kohya(module, Numbering::Diffusers)?;
            assert_eq!(key, format!("lora_unet_{}", module.replace('.', "_")));
            assert_eq!(from_kohya(&key, 2)?, module);
        }
    }
    let names = all["sdxl"]["kohya"].as_object().unwrap();
    assert_eq!(names.len(), 264);
    let numbering = Numbering::Checkpoint {
        layers_per_block: 2,
    };
    for (module, key) in names {
        assert_eq!(to_kohya(module, numbering)?, key.as_str().unwrap());
        assert_eq!(from_kohya(key.as_str().unwrap(), 2)?, *module);
    }
    assert!(to_kohya("down_blocks.0.resnets.2.conv1", numbering).is_err());
    assert!(from_kohya("lora_unet_input_blocks_4_3_proj_in", 2).is_err());
    Ok(())
}
