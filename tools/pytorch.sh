#!/usr/bin/env bash
# Installs PyTorch for the CPU, and what benchmarks compare with, in an environment of its own: .tools/pytorch.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=constraints/pytorch.txt
ready=.tools/pytorch/ready
if [ -e "$ready" ] && [ "$ready" -nt "$requirements" ]; then exit; fi
for tool in gcc nm readelf; do
  command -v "$tool" > /dev/null || { echo "tools/pytorch.sh needs $tool (Debian: gcc and binutils)" >&2; exit 1; }
done
echo "Installing PyTorch for the comparison, about a gigabyte …"
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}"
.tools/bin/uv venv --quiet --clear --python .venv/bin/python .tools/pytorch
.tools/bin/uv pip install --quiet --python .tools/pytorch/bin/python --no-deps --requirement "$requirements"

# The published package for Linux is linked with NVIDIA's libraries, three gigabytes that no CPU needs. A library in which
# each of their functions returns 100, "no device is there", stands in for all of them.
without_gpu() {
  cd .tools/pytorch/lib/python*/site-packages/torch/lib
  [ -e libtorch_cuda.so ] || return 0
  local work
  work=$(mktemp -d)
  # With their versions, as NAME@VERSION.
  nm --dynamic --undefined-only ./*.so | awk '{print $2}' | grep -E '^(__cuda|cu|nccl|nvrtc|nvshmem)' | sort -u \
    > "$work/functions"
  {
    echo .text
    sed 's/@.*//' "$work/functions" | sort -u | sed 's/.*/.globl &\n.type &,@function\n&:/'
    case "$(uname -m)" in
      x86_64) printf '%s\n' 'mov $100, %eax' ret ;;
      aarch64) printf '%s\n' 'mov w0, #100' ret ;;
      *) echo "tools/pytorch.sh: no stand-in for NVIDIA's libraries on $(uname -m)" >&2; return 1 ;;
    esac
    echo '.section .note.GNU-stack,"",%progbits'
  } > "$work/library.s"
  awk -F@ 'NF > 1 { names[$2] = names[$2] $1 ";" } END { for (version in names) print version " {" names[version] "};" }' \
    "$work/functions" > "$work/versions"
  gcc -shared -nostdlib -Wl,-soname,libwithoutgpu.so -Wl,--version-script="$work/versions" \
    -o libwithoutgpu.so "$work/library.s"
  readelf --dynamic ./*.so | awk -F'[][]' '/NEEDED/ { print $2 }' | grep -E '^lib(cu|nv|nccl)' | sort -u \
    | while read -r name; do ln -s libwithoutgpu.so "$name"; done
  rm -r "$work"
}
(without_gpu)
.tools/pytorch/bin/python -W ignore -c 'import segmentation_models_pytorch'
touch "$ready"
