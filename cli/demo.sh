#!/usr/bin/env bash
# `make demo`: kernels generated, measured and chosen on this very machine, and what that is worth.
#
# Without MODEL: the model of our own tells a story, then random weights in the shape of BitNet b1.58 2B-4T, whose speed is
# real and whose text is noise. With MODEL=file (and TOKENIZER=file where the model has none) it tunes that model and prints
# its text. Everything it writes stays in $BUILD/demo; the database is its own.
set -eu
bin=$BUILD/bin dir=$BUILD/demo
mkdir -p "$dir"
export TMAC_DB=$dir/tune.db
threads=$(nproc)
bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$1"; else printf '\n%s\n' "$1"; fi; }

# Generates from $model into $dir/text, three times, with the options given; leaves the median of tokens/s, the rung and the
# fingerprint of the logits in variables. Without the cache of packed weights: its copy in the background would slow the
# first run and flatter the second.
generate() {
    : >"$dir/speeds"
    for run in 1 2 3; do
        "$bin/tmac-run" "$model" "$@" -j "$threads" --no-cache --stats --json >"$dir/text" 2>"$dir/stats" ||
            { cat "$dir/stats" >&2; exit 1; }
        stat decode_tps >>"$dir/speeds"
    done
    speed=$(sort -n "$dir/speeds" | sed -n 2p) rung=$(stat rung) logits=$(stat logits_sha256)
}
stat() { tail -n 1 "$dir/stats" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\)\"\{0,1\}.*/\1/p"; }

# Before, tuning, after.
demonstrate() { # options of tmac-run...
    generate "$@"
    local before=$speed before_logits=$logits
    printf 'before tuning: %.1f tokens/s (rung: %s, %s)\n\n' "$before" "$rung" "$threads thread$([ "$threads" = 1 ] || echo s)"
    "$bin/tmac-tune" --model "$model" --rigor quick -j "$threads"
    generate "$@"
    echo
    head -c 2000 "$dir/text"
    printf '\n\n%.1f tokens/s before, %.1f after (rung: %s), ' "$before" "$speed" "$rung"
    if [ "$logits" = "$before_logits" ]; then echo "logits identical to the last bit"
    else echo "LOGITS DIFFER: this is a defect, please report it"; exit 1; fi
}

rm -f "$TMAC_DB" "$TMAC_DB"-*
if [ -n "${MODEL:-}" ]; then
    model=$MODEL
    bold "$model: every kernel that is exact on this machine, timed on this model's own working set"
    demonstrate ${TOKENIZER:+-z "$TOKENIZER"} -t 0 -n 200 -i "${PROMPT:-Once upon a time}"
    exit
fi

model=models/stories.tm2
all=$threads threads=1 # so small a model gains nothing from more
bold "1. A model of our own: BitNet, $(($(wc -c <$model) / 1000)) kB, trained by tmac-train on stories of models/grammar.lua"
demonstrate -t 0.8 --seed 7 -n 250 -i "${PROMPT:-Once upon a time}"

model=$dir/bitnet-2b-4t.tm2 threads=$all
bold "2. The shape of BitNet b1.58 2B-4T in random weights (0.5 GB of weights, 0.7 GB of embedding): noise, at real speed"
[ -f "$model" ] || "$bin/tmac-synth" --shape bitnet-2b-4t "$model"
demonstrate -t 0 -n 48 -i "${PROMPT:-Once upon a time}"
