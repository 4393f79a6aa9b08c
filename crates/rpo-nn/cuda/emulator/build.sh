#!/usr/bin/env bash
# Builds the emulated GPU (README.md) from this folder and the kernels in ../*.cu.
#
#   build.sh OUT           libraries in OUT/lib under the names of NVIDIA's; prints the exports to use
#   build.sh OUT kernels   the driver and the kernels alone
#   build.sh OUT test      the same, then runs selftest.cu
#
# Needs g++ 12 or newer and python3; without `kernels` and `test` also the cudarc crate, found by cargo or given as
# CUDARC_SRC. What has not changed is not built again.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 1 ] || { sed -n 2,9p "$0" >&2; exit 2; }
mkdir -p "$1"; out=$(cd "$1" && pwd); mode=${2:-all}
lib=$out/lib obj=$out/obj
mkdir -p "$lib/kernels" "$obj"

cxx=(g++ -std=c++20 -O3 -fPIC -g1 -Wall -fvisibility=hidden -I"$here")
# GPUs have fused multiply-add; without the instruction every fmaf is a slow library call.
if grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo; then cxx+=(-march=x86-64-v3); fi
# What a GPU traps on or leaves undefined ends the program here.
kernel=("${cxx[@]}" -DEMULATED_GPU -Wno-unknown-pragmas -Wno-unused-function -fno-strict-aliasing
        -fsanitize=alignment,bounds,signed-integer-overflow -fsanitize-undefined-trap-on-error
        -fno-crossjumping -fno-tree-tail-merge)  # else all faults of a function seem to be in one line
compiler=$(g++ --version)

# made FILE WHAT...: whether FILE was built from these files, with these words; then nothing is to do. fresh FILE: it is now.
made() {
  local f=$1; shift
  key=$({ printf '%s\n' "$compiler" "$@"; for x in "$@"; do [ ! -f "$x" ] || cat "$x"; done; } | sha256sum)
  [ -f "$f" ] && [ "$(cat "$f.key" 2>/dev/null)" = "$key" ]
}
fresh() { echo "$key" > "$1.key"; echo "built ${1#"$out"/}" >&2; }

object() { # name of a .cpp here
  local o=$obj/$1.o
  made "$o" "${cxx[@]}" "$here/$1.cpp" "$here"/*.h || { "${cxx[@]}" -c -o "$o" "$here/$1.cpp"; fresh "$o"; }
}

# library NAME SONAME MODULE RC OBJECT...: the objects, and a stub that returns RC for each other name that the cudarc
# crate declares in MODULE. NVIDIA's libraries but the driver's version their symbols by their soname.
library() {
  local name=$1 soname=$2 module=$3 rc=$4 so=$lib/$2 objects=() link=() o; shift 4
  for o; do object "$o"; objects+=("$obj/$o.o"); done
  if [ "$soname" = libcuda.so.1 ]; then
    link=(-ldl -lpthread)
  else
    echo "$soname { global: *; };" > "$obj/$name.map"
    link=(-Wl,--version-script="$obj/$name.map" "$lib/libcuda.so.1" -Wl,-rpath,'$ORIGIN')
  fi
  : > "$obj/$name.c"
  if [ "$mode" = all ]; then
    { [ $# -eq 0 ] || nm -g --defined-only "${objects[@]}" | awk '$2 == "T" {print $3}'; } > "$obj/$name.names"
    CUDARC_SRC=$cudarc python3 "$here/generate.py" stubs "$module" "$rc" "$obj/$name.names" > "$obj/$name.c"
  fi
  if ! made "$so" "${cxx[@]}" "${objects[@]}" "$obj/$name.c"; then
    g++ -x c -w -O1 -fPIC -fno-builtin -c -o "$obj/$name.stub.o" "$obj/$name.c"
    g++ -shared -Wl,-soname,"$soname" -o "$so" ${objects[@]+"${objects[@]}"} "$obj/$name.stub.o" "${link[@]}"
    ln -sf "$soname" "$lib/lib$name.so"
    fresh "$so"
  fi
}

[ "$mode" != all ] || cudarc=${CUDARC_SRC:-$(python3 "$here/generate.py" cudarc)}
library cuda libcuda.so.1 driver 801 fibers launch crash memory driver driver_memory modules

# One library for each file of kernels, built again when the preprocessed file changes.
build_kernels() { # source
  local cu=$1 name; name=$(basename "$1" .cu)
  local so=$lib/kernels/$name.so
  "${kernel[@]}" -DEMULATED_LIST -include emulate.h -x c++ -E "$cu" -o "$obj/$name.ii"
  python3 "$here/generate.py" kernels "$cu" "$obj/$name.ii" > "$obj/$name.cpp"
  if ! made "$so" "${kernel[@]}" "$obj/$name.ii" "$obj/$name.cpp" "$here/register.h"; then
    "${kernel[@]}" -include emulate.h -shared -Wl,-rpath,'$ORIGIN/..' -o "$so" -x c++ "$obj/$name.cpp" -x none "$lib/libcuda.so.1"
    fresh "$so"
  fi
}
names=" " pids=() sources=("$here"/../*.cu)
[ "$mode" != test ] || sources+=("$here/selftest.cu")
for cu in "${sources[@]}"; do
  [ -f "$cu" ] || continue
  names+="$(basename "$cu" .cu) "
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do sleep 0.1; done
  build_kernels "$cu" & pids+=($!)
done
for p in "${pids[@]}"; do wait "$p"; done
for so in "$lib"/kernels/*.so; do # of files that are no more
  n=$(basename "$so" .so); [[ $names == *" $n "* ]] || rm -f "$so" "$so.key"
done

if [ "$mode" = test ]; then
  "${cxx[@]}" -DEMULATED_GPU -DSELFTEST_MAIN -include emulate.h -o "$obj/selftest" -x c++ "$here/selftest.cu" -x none \
    "$lib/libcuda.so.1" -Wl,-rpath,"$lib"
  "$obj/selftest"
  rm -f "$lib"/kernels/selftest.so*
fi
[ "$mode" = all ] || exit 0

library cublas libcublas.so.13 cublas 15 gemm blas
library cublasLt libcublasLt.so.13 cublaslt 15 gemm blaslt
library cudnn libcudnn.so.9 cudnn 3000 gemm conv dnn
library curand libcurand.so.10 curand 999 curand
library nvrtc libnvrtc.so.13 nvrtc 11
cat <<X
export CUDA_HOME='$out' CUDA_PATH='$out' CUDA_COMPUTE_CAP=90 CUDARC_CUDA_VERSION=13000
export LD_LIBRARY_PATH='$lib'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
X
