#!/usr/bin/env bash
# `make bench`: the kernels, and tokens per second on the 2B-4T shape, beside what this host can do. Run it on a quiet
# machine; quote ratios. YARDSTICK=FILE.c names an independent yardstick program to compile and run first (by default
# the one beside the data folder, where there is one).
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build} CC=${CC:-gcc}
yardstick=${YARDSTICK:-$(dirname "${TMAC_DATA:-../shared/data}")/yardstick/yardstick.c}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMAC_DB=$work/tune.db TMAC_CACHE=$work/cache

if [ -f "$yardstick" ] && $CC -O3 -march=native -pthread "$yardstick" -o "$work/yardstick" 2>/dev/null; then
    echo "# yardstick"
    "$work/yardstick" | tee "$work/limits"
else
    echo "# no yardstick program at $yardstick"
fi

echo "# this host"
"$BUILD/bin/tmac-bench" --host
echo "# kernels, one token, 450 MB streamed"
"$BUILD/bin/tmac-bench" --kernels _n1_

model=${MODEL:-$BUILD/demo/bitnet-2b-4t.tm2}
if [ ! -f "$model" ]; then
    mkdir -p "$(dirname "$model")"
    "$BUILD/bin/tmac-synth" --shape bitnet-2b-4t "$model"
fi
threads=$(seq -s, 1 "$(nproc)")
for count in ${threads//,/ }; do
    "$BUILD/bin/tmac-tune" --model "$model" --rigor quick -j "$count" >/dev/null
done
"$BUILD/bin/tmac-bench" -m "$model" -p 512 -n 128 -d 0,2048 -j "$threads" -r 5
