"""The same work here and in PyTorch + diffusers, in turns, on the same machine: medians, spread and their ratio.

    cargo build --release -p rpo-bench
    python scripts/bench/side_by_side.py target/release/rpo-bench --threads 2 --rounds 9 --json times.jsonl
    python scripts/bench/side_by_side.py target/release/rpo-bench --model SD15 --lora 32 --work forward:2,step:1,decode:1 --rounds 3

--work names `forward:B`, `step:PAIRS`, `sample:N` (15 steps of DPM-Solver++; `sample:N:ddim:50`), `decode:N`, `text:N`, `score:N`.
With --lora the step trains a LoRA of that rank on the attention projections, peft's on the other side, blocks recomputed on both.

Wall is what one waits. Processor is the time of all threads of a side; PyTorch's threads wait by spinning, which counts, and which
makes both ratios too good where other programs run: the script says so. A line of --json has every single time and what it was measured on.

Needs torch, diffusers, transformers (measured with 2.15, 0.42, 5.23). f32 on both sides, eager PyTorch, by default the weights of
assets/micro. Our `score` includes the preprocessing of the pictures, our `text` the tokens.
"""

import argparse

import turns

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
turns.arguments(parser)
parser.add_argument("--work", default="forward:8,forward:32,forward:64,step:1,step:4,sample:16,decode:16,score:32")
args = parser.parse_args()

both = turns.Turns(args)
turns.headline(both.about, args.rounds)
print("ms: median [quartiles] (min-max); ratio ours / torch of medians, by wall and by processor time", flush=True)
for work in args.work.split(","):
    row = both.measure(work)
    ours, torch = (turns.spread(row[side]["wall"]) for side in ("ours", "torch"))
    wall, processor = (turns.ratio(row, clock) for clock in ("wall", "processor"))
    print(f"{work:12} ours {ours:44} torch {torch:44} ratio {wall:.2f}  processor {processor:.2f}", flush=True)
both.close()
