#!/usr/bin/env bash
# `make demo-model`: the model of this folder from nothing but the grammar beside it.
#
#   BUILD=build models/rebuild.sh         the ternary model, then what it is worth
#   BUILD=build TWIN=1 models/rebuild.sh  its float twin too, and the twin merely rounded to ternary
#
# Works in $BUILD/demo-model; started again, it goes on where it was. The committed stories.tm2 is replaced by nobody but
# you: the last lines say whether the bits agree (they do on the same kind of processor with the same OpenBLAS) and how
# far the likelihoods are apart.
set -eu
here=$(dirname "$0") bin=$BUILD/bin dir=$BUILD/demo-model
train=$bin/tmac-train
mkdir -p "$dir"

# What is learned from, and what is judged by: stories of another seed.
[ -s "$dir/train.txt" ] || "$train" tell "$here/grammar.lua" --seed 1 --count 80000 -o "$dir/train.txt"
"$train" tell "$here/grammar.lua" --seed 2 --count 1000 -o "$dir/validation.txt" | tee "$dir/grammar.log"
[ -s "$dir/tokenizer.bin" ] || "$train" tokenizer --size 1536 -o "$dir/tokenizer.bin" "$dir/train.txt"

common=(--documents lines --validation "$dir/validation.txt")
recipe=(-z "$dir/tokenizer.bin" --shape dim=128,hidden=320,layers=5,heads=4,context=320
        --steps 6000 --batch 8 --shards 4 --rate 3e-3 --warmup 150 --beta2 0.99 --validate-every 500
        --checkpoint-every 250)

per_story() { sed -n 's/^validation .* \([0-9.]*\) a document.*/\1/p' "$1"; }
entropy=$(sed -n 's/.*: \([0-9.]*\) nats a text.*/\1/p' "$dir/grammar.log")
row() { # name log
    awk -v name="$1" -v nats="$(per_story "$2")" -v best="$entropy" \
        'BEGIN { printf "%-44s %8.2f nats a story, %+6.1f %%\n", name, nats, (nats / best - 1) * 100 }'
}

"$train" -o "$dir/stories.tm2" "${common[@]}" "${recipe[@]}" "$dir/train.txt" | tee "$dir/ternary.log"
if [ -n "${TWIN:-}" ]; then
    "$train" -o "$dir/float.tm2" --kind float "${common[@]}" "${recipe[@]}" "$dir/train.txt" | tee "$dir/float.log"
    "$train" -o "$dir/rounded.tm2" --kind ternary --init "$dir/float.tm2" --steps 0 "${common[@]}" "$dir/train.txt" \
        >"$dir/rounded.log"
fi

echo
printf '%-44s %8.2f nats a story\n' "the grammar itself: the least that is possible" "$entropy"
row "ternary" "$dir/ternary.log"
if [ -n "${TWIN:-}" ]; then
    row "its float twin" "$dir/float.log"
    row "the twin rounded to ternary" "$dir/rounded.log"
fi
[ -f "$here/stories.tm2" ] || exit 0
if cmp -s "$here/stories.tm2" "$dir/stories.tm2"; then
    echo "the same bits as $here/stories.tm2"
else
    "$train" -o "$dir/committed.tm2" --init "$here/stories.tm2" --steps 0 "${common[@]}" "$dir/train.txt" >"$dir/committed.log"
    row "$here/stories.tm2, other bits" "$dir/committed.log"
fi
