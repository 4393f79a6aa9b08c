#!/usr/bin/env bash
# Compiles crates/rpo-nn/cuda/*.cu to PTX for compute capability 8.0, where the build takes it from: building the project needs no
# nvcc. Run it after every change of a kernel; a test compares the hash of the sources that it notes.
#
#   scripts/cuda/ptx.sh            nvcc 13.0 on the PATH, or NVCC
#
# Without a toolkit: python3 -m pip download --no-deps nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
# nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96, unpacked over each other. Not newer than 13.0: a driver refuses the PTX of a
# newer nvcc.
set -euo pipefail
cd "$(dirname "$0")/../../crates/rpo-nn/cuda"
nvcc=${NVCC:-nvcc}
"$nvcc" --version | grep -q 'release 13.0' || { echo "nvcc 13.0 is needed" >&2; exit 1; }
mkdir -p ptx
rm -f ptx/*
for source in *.cu; do
    "$nvcc" -std=c++17 -ptx -arch=compute_80 -o - "$source" | sed '/^[[:space:]]*\/\//d; /^$/d' | gzip -9n > "ptx/${source%.cu}.ptx.gz"
done
cat *.cu *.cuh | sha256sum | cut -d' ' -f1 > ptx/SOURCES
ls -l ptx
