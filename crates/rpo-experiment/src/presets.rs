//! Presets: committed fragments of experiment files for common models.

/// A named fragment.
pub struct Preset {
    /// Its name in `[model] preset`.
    pub name: &'static str,
    /// The keys that it sets; those of the experiment file take precedence.
    pub text: &'static str,
    /// `unet/config.json` of the released model, for plans made without its weights.
    pub unet: &'static str,
    /// Parameters of its VAE.
    pub vae: usize,
    /// Parameters of its text encoders.
    pub text_encoders: usize,
}

/// All presets.
pub const PRESETS: [Preset; 3] = [
    Preset {
        name: "sd15",
        text: include_str!("../../../experiments/presets/sd15.toml"),
        unet: include_str!("../../../experiments/presets/sd15.unet.json"),
        vae: 83_653_863,
        text_encoders: 123_060_480,
    },
    Preset {
        name: "sd21",
        text: include_str!("../../../experiments/presets/sd21.toml"),
        unet: include_str!("../../../experiments/presets/sd21.unet.json"),
        vae: 83_653_863,
        text_encoders: 340_387_840,
    },
    Preset {
        name: "sdxl-lora",
        text: include_str!("../../../experiments/presets/sdxl-lora.toml"),
        unet: include_str!("../../../experiments/presets/sdxl.unet.json"),
        vae: 83_653_863,
        text_encoders: 123_060_480 + 694_659_840,
    },
];

/// The preset of this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|p| p.name == name)
}
