"""Learning rates of every step by diffusers' get_scheduler, for crates/rpo-experiment/src/rate.rs.

Made with diffusers 0.42.1, torch 2.15.0.
    python scripts/golden/learning_rates.py > crates/rpo-experiment/tests/golden/learning_rates.json
"""

import json

import diffusers
import torch
from diffusers.optimization import get_scheduler


def rates(name, rate, steps, warmup, power):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=rate)
    if name == "constant" and warmup:
        name = "constant_with_warmup"
    scheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=steps, power=power
    )
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


cases = []
for name in ["constant", "linear", "cosine", "polynomial"]:
    for steps, warmup, power in [(12, 0, 1.0), (12, 5, 1.0), (9, 3, 2.5)]:
        cases.append({
            "lr_scheduler": name, "learning_rate": 3e-4, "steps": steps, "lr_warmup_steps": warmup, "lr_power": power,
            "rates": rates(name, 3e-4, steps, warmup, power),
        })
print(json.dumps({"diffusers": diffusers.__version__, "torch": torch.__version__, "cases": cases}, indent=1))
