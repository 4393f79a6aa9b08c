#!/usr/bin/env bash
# Builds the emulated GPU (README.md) from this folder and the kernels in ../*.cu.
#
#   build.sh OUT           libraries in OUT/lib under the names of NVIDIA's; prints the export to use
#   build.sh OUT test      the driver and the kernels alone, then runs selftest.cu
#
# Needs g++ 12 or newer and python3. What has not changed is not built again.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 1 ] || { sed -n 2,7p "$0" >&2; exit 2; }
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

# library SONAME OBJECT...: NVIDIA's libraries but the driver's version their symbols by their soname.
library() {
  local soname=$1 so=$lib/$1 objects=() link=() o; shift
  for o; do object "$o"; objects+=("$obj/$o.o"); done
  if [ "$soname" = libcuda.so.1 ]; then
    link=(-ldl -lpthread)
  else
    echo "$soname { global: *; };" > "$obj/$soname.map"
    link=(-Wl,--version-script="$obj/$soname.map" "$lib/libcuda.so.1" -Wl,-rpath,'$ORIGIN')
  fi
  if ! made "$so" "${cxx[@]}" "${objects[@]}"; then
    g++ -shared -Wl,-soname,"$soname" -o "$so" "${objects[@]}" "${link[@]}"
    fresh "$so"
  fi
}

library libcuda.so.1 fibers launch crash memory driver driver_memory modules

# One library for each file of kernels, built again when the preprocessed file changes.
build_kernels() { # source
  local cu=$1 name; name=$(basename "$1" .cu)
  local so=$lib/kernels/$name.so
  "${kernel[@]}" -DEMULATED_LIST -include emulate.h -x c++ -E "$cu" -o "$obj/$name.ii"
  python3 "$here/generate.py" "$cu" "$obj/$name.ii" > "$obj/$name.cpp"
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

library libcublasLt.so.13 gemm blaslt
library libcudnn.so.9 gemm conv dnn
echo "export LD_LIBRARY_PATH='$lib'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
