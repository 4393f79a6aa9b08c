//! The U-Net itself: down blocks, mid block, up blocks with skip connections.

use candle_core::{Error, Result, Tensor, bail};
use rpo_nn::layers::{Conv2d, GroupNorm};
use rpo_nn::ops;
use rpo_nn::weights::Scope;
use rpo_nn::{Place, Tape};
use std::sync::Arc;

use super::config::UNetConfig;
use super::time::{AddEmbedding, TimeEmbedding};
use super::transformer::{TextContext, Transformer2D};
use crate::conditioning::Conditioning;
use crate::resnet::{ResnetBlock2D, Upsample2D, conv3x3, downsample};

/// ResNet blocks at one resolution, each followed by an attention if the block type has one.
#[derive(Debug, Clone)]
struct Layers {
    resnets: Vec<ResnetBlock2D>,
    /// Empty, or one per ResNet block (the mid block: one less).
    attentions: Vec<Transformer2D>,
}

impl Layers {
    /// `widths`: channels in and out of each ResNet block.
    fn new(
        scope: &Scope,
        config: &UNetConfig,
        level: usize,
        widths: &[(usize, usize)],
        attentions: usize,
        slots: &mut usize,
    ) -> Result<Self> {
        let resnets = widths.iter().enumerate().map(|(j, &(ci, co))| {
            let scope = scope.sub("resnets").sub(j);
            let time = Some(config.time_embed_dim());
            ResnetBlock2D::new(
                &scope,
                ci,
                co,
                time,
                config.norm_num_groups,
                config.norm_eps,
            )
        });
        Ok(Self {
            resnets: resnets.collect::<Result<_>>()?,
            attentions: (0..attentions)
                .map(|j| Transformer2D::new(&scope.sub("attentions").sub(j), config, level, slots))
                .collect::<Result<_>>()?,
        })
    }

    fn forward(&self, j: usize, x: &Tensor, time: &Tensor, text: &TextContext) -> Result<Tensor> {
        let h = self.resnets[j].forward(x, Some(time))?;
        match self.attentions.get(j) {
            Some(attention) => attention.forward(&h, text),
            None => Ok(h),
        }
    }
}

/// Inputs of all blocks in a forward pass.
struct Pass<'a> {
    /// SiLU of the timestep's embedding, `[B, T]`.
    time: Tensor,
    text: &'a TextContext,
    tape: Option<&'a Tape>,
}

impl Pass<'_> {
    /// The `j`-th ResNet block of `layers` with its attention.
    fn layer(&self, layers: &Arc<Layers>, j: usize, x: &Tensor) -> Result<Tensor> {
        match self.tape {
            None => layers.forward(j, x, &self.time, self.text),
            Some(tape) => {
                let (layers, text) = (layers.clone(), self.text.clone());
                let (x, time) = (x.clone(), self.time.clone());
                tape.part(move || layers.forward(j, &x, &time, &text))
            }
        }
    }
}

/// The denoiser. On a trainable scope it has gradients, on a frozen one it costs none.
#[derive(Debug, Clone)]
pub struct UNet2DConditionModel {
    place: Place,
    in_channels: usize,
    time_embedding: TimeEmbedding,
    add_embedding: Option<AddEmbedding>,
    conv_in: Conv2d,
    down: Vec<(Arc<Layers>, Option<Conv2d>)>,
    mid: Arc<Layers>,
    up: Vec<(Arc<Layers>, Option<Upsample2D>)>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    /// Whether keys and values of a text's first token carry no gradient.
    detaches_first_token: bool,
}

impl UNet2DConditionModel {
    /// Reads every tensor by its diffusers name. Errors name the missing or misshapen one.
    pub fn new(config: &UNetConfig, scope: &Scope) -> Result<Self> {
        let channels = &config.block_out_channels;
        let (levels, first) = (config.blocks(), channels[0]);
        let mut slots = 0;

        // Channels of the skip connections, in the order of the down path.
        let mut skips = vec![first];
        let mut down = Vec::with_capacity(levels);
        for (i, &co) in channels.iter().enumerate() {
            let scope = scope.sub("down_blocks").sub(i);
            let ci = channels[i.saturating_sub(1)];
            let layers = config.layers(i);
            let widths: Vec<_> = (0..layers)
                .map(|j| (if j == 0 { ci } else { co }, co))
                .collect();
            let attentions = if config.down_block_types[i] == "CrossAttnDownBlock2D" {
                layers
            } else {
                0
            };
            let block = Layers::new(&scope, config, i, &widths, attentions, &mut slots)?;
            skips.extend(vec![co; layers]);
            let sampler = if i + 1 < levels {
                skips.push(co);
                let scope = scope.sub("downsamplers").sub(0);
                Some(downsample(&scope, co, [1; 4])?)
            } else {
                None
            };
            down.push((Arc::new(block), sampler));
        }

        let deepest = channels[levels - 1];
        let mid_widths = [(deepest, deepest); 2];
        let mid = Layers::new(
            &scope.sub("mid_block"),
            config,
            levels - 1,
            &mid_widths,
            1,
            &mut slots,
        )?;

        let mut up = Vec::with_capacity(levels);
        let mut ci = deepest;
        for i in 0..levels {
            let scope = scope.sub("up_blocks").sub(i);
            let level = levels - 1 - i;
            let co = channels[level];
            let layers = config.layers(level) + 1;
            let mut widths = Vec::with_capacity(layers);
            for _ in 0..layers {
                widths.push((ci + skips.pop().unwrap_or(0), co));
                ci = co;
            }
            let attentions = if config.up_block_types[i] == "CrossAttnUpBlock2D" {
                layers
            } else {
                0
            };
            let block = Layers::new(&scope, config, level, &widths, attentions, &mut slots)?;
            let sampler = (i + 1 < levels)
                .then(|| Upsample2D::new(&scope.sub("upsamplers").sub(0), co))
                .transpose()?;
            up.push((Arc::new(block), sampler));
        }

        Ok(Self {
            place: scope.params().place().clone(),
            in_channels: config.in_channels,
            time_embedding: TimeEmbedding::new(config, &scope.sub("time_embedding"))?,
            add_embedding: AddEmbedding::new(config, &scope.sub("add_embedding"))?,
            conv_in: conv3x3(&scope.sub("conv_in"), config.in_channels, first)?,
            down,
            mid: Arc::new(mid),
            up,
            conv_norm_out: GroupNorm::new(
                &scope.sub("conv_norm_out"),
                config.norm_num_groups,
                first,
                config.norm_eps,
            )?,
            conv_out: conv3x3(&scope.sub("conv_out"), first, config.out_channels)?,
            detaches_first_token: false,
        })
    }

    /// The same network, of the same tensors, whose cross-attentions detach key and value of a text's first token, if `detach`: no
    /// gradient goes through them, predictions are the same (Kumari et al. 2023, Custom Diffusion, whose text begins with a token that
    /// stands in every prompt).
    #[must_use]
    pub fn detaching_first_token(&self, detach: bool) -> Self {
        Self {
            detaches_first_token: detach,
            ..self.clone()
        }
    }

    /// Precomputes this U-Net's keys and values of the text, for any number of calls of [`forward_with`](Self::forward_with).
    ///
    /// # Errors
    /// If SDXL's added conditioning is missing, or given to a U-Net without it; shape errors.
    pub fn prepare_text(&self, conditioning: &Conditioning) -> Result<TextContext> {
        let hidden_states = self.place.enter(&conditioning.hidden_states)?;
        let mut keys_values = Vec::new();
        let down = self.down.iter().map(|(layers, _)| layers);
        let up = self.up.iter().map(|(layers, _)| layers);
        for layers in down.chain([&self.mid]).chain(up) {
            for attention in &layers.attentions {
                let detach = self.detaches_first_token;
                attention.push_keys_values(&hidden_states, detach, &mut keys_values)?;
            }
        }
        let added = match (&self.add_embedding, &conditioning.added) {
            (Some(embedding), Some(added)) => Some(embedding.forward(added, &self.place)?),
            (None, None) => None,
            (Some(_), None) => bail!(
                "this U-Net (SDXL) needs text_embeds and time_ids beside encoder_hidden_states"
            ),
            (None, Some(_)) => {
                bail!("this U-Net takes no text_embeds and time_ids: they belong to SDXL")
            }
        };
        Ok(TextContext {
            keys_values,
            added,
            batch: conditioning.batch()?,
        })
    }

    /// Predicts noise or velocity `[B, h, w, out]` from latents `[B, h, w, in]` of any size, timesteps (one, or one
    /// per sample) and the conditioning of `B` rows.
    ///
    /// # Errors
    /// Those of shapes; see [`prepare_text`](Self::prepare_text).
    pub fn forward(
        &self,
        latents: &Tensor,
        timesteps: &[f64],
        conditioning: &Conditioning,
    ) -> Result<Tensor> {
        self.forward_with(latents, timesteps, &self.prepare_text(conditioning)?)
    }

    /// [`forward`](Self::forward) with a prepared text.
    ///
    /// # Errors
    /// Shape errors; a text prepared by another U-Net.
    pub fn forward_with(
        &self,
        latents: &Tensor,
        timesteps: &[f64],
        text: &TextContext,
    ) -> Result<Tensor> {
        self.run(latents, timesteps, text, None)
    }

    /// [`forward`](Self::forward) on a tape, whose [`Tape::backward`] gives the gradients; each ResNet block with its attention
    /// is a [part](Tape::part).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_on(
        &self,
        tape: &Tape,
        latents: &Tensor,
        timesteps: &[f64],
        conditioning: &Conditioning,
    ) -> Result<Tensor> {
        self.forward_under(tape, latents, timesteps, || Ok(conditioning.clone()))
    }

    /// As [`forward_on`](Self::forward_on) with a conditioning that the tape follows too: the gradients are also those of the
    /// variables that it is computed from.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); those of `conditioning`.
    pub fn forward_under(
        &self,
        tape: &Tape,
        latents: &Tensor,
        timesteps: &[f64],
        conditioning: impl FnOnce() -> Result<Conditioning>,
    ) -> Result<Tensor> {
        tape.record(|| {
            let text = self.prepare_text(&conditioning()?)?;
            self.run(latents, timesteps, &text, Some(tape))
        })
    }

    fn run(
        &self,
        latents: &Tensor,
        timesteps: &[f64],
        text: &TextContext,
        tape: Option<&Tape>,
    ) -> Result<Tensor> {
        let pass = Pass {
            time: self.time(latents, timesteps, text)?,
            text,
            tape,
        };
        let mut h = self.conv_in.forward(&self.place.enter(latents)?)?;
        let mut skips = vec![h.clone()];
        for (layers, sampler) in &self.down {
            for j in 0..layers.resnets.len() {
                h = pass.layer(layers, j, &h)?;
                skips.push(h.clone());
            }
            if let Some(sampler) = sampler {
                h = sampler.forward(&h)?;
                skips.push(h.clone());
            }
        }
        for j in 0..self.mid.resnets.len() {
            h = pass.layer(&self.mid, j, &h)?;
        }
        for (layers, sampler) in &self.up {
            for j in 0..layers.resnets.len() {
                let skip = skips
                    .pop()
                    .ok_or_else(|| Error::msg("a skip connection is missing"))?;
                h = pass.layer(layers, j, &ops::concat_channels(&h, &skip)?)?;
            }
            if let (Some(sampler), Some(skip)) = (sampler, skips.last()) {
                // Not always twice the size: an odd one was rounded up on the way down.
                let (_, height, width, _) = skip.dims4()?;
                h = sampler.forward(&h, (height, width))?;
            }
        }
        let out = self
            .conv_out
            .forward(&self.conv_norm_out.forward_silu(&h)?)?;
        self.place.leave(&out)
    }

    /// Checks the inputs; the timestep embedding `[B, T]`.
    fn time(&self, latents: &Tensor, timesteps: &[f64], text: &TextContext) -> Result<Tensor> {
        let (batch, _, _, channels) = latents.dims4()?;
        if channels != self.in_channels {
            bail!(
                "latents {:?}: the last dimension must be {}",
                latents.shape(),
                self.in_channels
            );
        }
        if text.batch != batch {
            bail!(
                "{} texts for {batch} latents: one text a latent is needed",
                text.batch
            );
        }
        let each = match *timesteps {
            [t] => vec![t; batch],
            _ if timesteps.len() == batch => timesteps.to_vec(),
            _ => bail!(
                "{} timesteps for {batch} latents: give one, or one each",
                timesteps.len()
            ),
        };
        self.time_embedding
            .forward(&each, text.added.as_ref(), &self.place)
    }
}
