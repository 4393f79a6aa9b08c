"""Golden vectors of new words in the embedded text encoder: states with added rows of the token table, and the rows' gradient.

    python scripts/golden/token_rows.py        # writes crates/rpo-encoders/tests/golden/token_rows.json

Two rows follow the table's V: sin(i) and cos(i) / 4 of the place i. Two texts hold them as the ids V and V + 1. The loss is the sum of
last_hidden_state times sin(0.1 i), i its place in [B, S, D]. Gradients are PyTorch's, of the added rows alone.

Made with torch 2.15.0, transformers 5.23.0.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import CLIPTextModel, CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]
MICRO = ROOT / "assets/micro"
OUT = ROOT / "crates/rpo-encoders/tests/golden/token_rows.json"


def main():
    torch.manual_seed(0)
    model = CLIPTextModel.from_pretrained(MICRO / "text_encoder").double().eval()
    tokenizer = CLIPTokenizer.from_pretrained(MICRO / "tokenizer")
    table = model.get_input_embeddings()
    vocabulary, width = table.weight.shape
    places = torch.arange(width, dtype=torch.float64)
    rows = torch.stack([places.sin(), places.cos() / 4])
    model.resize_token_embeddings(vocabulary + 2)
    with torch.no_grad():
        model.get_input_embeddings().weight[vocabulary:] = rows
    length = tokenizer.model_max_length
    texts = [("a photo of a", [0], "lion in the snow"), ("a", [0, 1, 0], "apple")]
    ids = []
    for before, added, after in texts:
        words = [tokenizer(t, add_special_tokens=False).input_ids for t in (before, after)]
        row = [tokenizer.bos_token_id, *words[0], *(vocabulary + a for a in added), *words[1], tokenizer.eos_token_id]
        ids.append(row + [tokenizer.pad_token_id] * (length - len(row)))
    out = model(torch.tensor(ids))
    weights = (0.1 * torch.arange(out.last_hidden_state.numel(), dtype=torch.float64)).sin().reshape(out.last_hidden_state.shape)
    loss = (out.last_hidden_state * weights).sum()
    loss.backward()
    gradient = model.get_input_embeddings().weight.grad[vocabulary:]
    OUT.write_text(json.dumps({
        "made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "vocabulary": vocabulary, "ids": ids, "loss": float(loss),
        "pooled": [[round(v, 9) for v in row] for row in out.pooler_output.tolist()],
        "gradient": [[round(v, 9) for v in row] for row in gradient.tolist()],
    }) + "\n")
    print(OUT, float(loss), float(gradient.norm()))


if __name__ == "__main__":
    main()
