#!/usr/bin/env bash
# `make demo`: kernels generated, measured and chosen on this very machine, and what that is worth.
#
# Without MODEL it works on random weights in the shape of BitNet b1.58 2B-4T: the speed is real, the text is noise. With
# MODEL=file (and TOKENIZER=file where the model has none) it tunes that model and prints its text. Everything it writes
# stays in $BUILD/demo; the database is its own.
set -eu
bin=$BUILD/bin dir=$BUILD/demo
mkdir -p "$dir"
export TMAC_DB=$dir/tune.db
threads=$(nproc)
bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$1"; else printf '\n%s\n' "$1"; fi; }

arguments=()
if [ -n "${MODEL:-}" ]; then
    model=$MODEL
    [ -z "${TOKENIZER:-}" ] || arguments+=(-z "$TOKENIZER")
    tokens=200
else
    model=$dir/bitnet-2b-4t.tm2
    tokens=48
    if [ ! -f "$model" ]; then
        bold "1. Random ternary weights in the shape of BitNet b1.58 2B-4T (0.5 GB of weights, 0.7 GB of embedding)"
        "$bin/tmac-synth" --shape bitnet-2b-4t "$model"
    fi
fi

# Without the cache of packed weights: its copy in the background would slow the first run and flatter the second.
# Generates into $dir/text, three times; leaves the median of tokens/s, the rung and the fingerprint of the logits in
# variables.
generate() {
    : >"$dir/speeds"
    for run in 1 2 3; do
        "$bin/tmac-run" "$model" ${arguments[@]+"${arguments[@]}"} -t 0 -n $tokens -i "${PROMPT:-Once upon a time}" \
            -j "$threads" --no-cache --stats --json >"$dir/text" 2>"$dir/stats" || { cat "$dir/stats" >&2; exit 1; }
        stat decode_tps >>"$dir/speeds"
    done
    speed=$(sort -n "$dir/speeds" | sed -n 2p) rung=$(stat rung) logits=$(stat logits_sha256)
}
stat() { tail -n 1 "$dir/stats" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\)\"\{0,1\}.*/\1/p"; }

rm -f "$TMAC_DB" "$TMAC_DB"-*
bold "2. Before tuning: the built-in rule chooses the kernels ($threads threads)"
generate
before=$speed before_logits=$logits
printf 'decode %.1f tokens/s, rung: %s\n' "$before" "$rung"

bold "3. Tuning: every kernel that is exact on this machine, timed on this model's own working set"
"$bin/tmac-tune" --model "$model" --rigor quick -j "$threads"

bold "4. After tuning"
generate
head -c 2000 "$dir/text"
echo
[ -n "${MODEL:-}" ] || echo "(random weights: the text is noise, the speed is not)"
printf '\ndecode %.1f tokens/s before, %.1f after (rung: %s), ' "$before" "$speed" "$rung"
if [ "$logits" = "$before_logits" ]; then echo "logits identical to the last bit"
else echo "LOGITS DIFFER: this is a defect, please report it"; exit 1; fi
