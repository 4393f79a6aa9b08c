// Selection over stored scores, as `rpo_reward::select` does it; a test holds one against the other.
"use strict";

globalThis.choose = (() => {
  // Eq. 5 and its relatives. Where one weight is 0 the other score alone counts, whatever the first one is.
  function reward(mean, lambda, image, text) {
    if (lambda === 0) return text;
    if (lambda === 1) return image;
    if (mean === "arithmetic") return lambda * image + (1 - lambda) * text;
    if (image <= 0 || text <= 0) return 0;
    if (mean === "geometric") return Math.pow(image, lambda) * Math.pow(text, 1 - lambda);
    return 1 / (lambda / image + (1 - lambda) / text);
  }

  // The mean of the pictures' rewards, never the reward of mean scores.
  function meanReward(pictures, mean, lambda) {
    let sum = 0;
    for (const p of pictures) sum += reward(mean, lambda, p.image, p.text);
    return sum / pictures.length;
  }

  // The first highest reward among those read; `steps` are their steps, of which one may have several candidates. A rule stops
  // after `patience` steps without a new highest one (null: never) and sees nothing after its own stop. Both answers are indices;
  // `stopped` is null for a rule that still reads on.
  function decide(rewards, steps, patience) {
    let chosen = 0, vain = 0;
    for (let i = 1; i < rewards.length; i++) {
      if (rewards[i] > rewards[chosen]) { chosen = i; vain = 0; }
      if (steps[i + 1] === steps[i]) continue;
      if (steps[i] > steps[chosen]) vain++;
      if (patience !== null && vain >= patience) return { chosen, stopped: i };
    }
    return { chosen, stopped: null };
  }

  return { reward, meanReward, decide };
})();
