#!/usr/bin/env bash
# modes: threads
# A screened head with everything that cuts work in pieces: drafts, batches, threads. The text is the stored head's, and
# the fingerprint of what screening left is one.
. tests/e2e/lib.sh.inc

text_of() { "$bin/tmac-run" "$@" --stats --json 2>"$work/stats" || tail -n 2 "$work/stats"; }

judge() { # name model arguments...
    local name=$1 stored text golden how
    shift
    stored=$(text_of "$@")
    text=$(text_of "$@" --head screened)
    golden=$(stat_of "$work/stats" logits_sha256)
    check "$name: text" "$text" "$stored"
    for how in "--draft 1" "--draft 5 -j 1" "--draft 8 -j 3" "--draft 12 --batch 3" "--batch 2 -j 3" "-j 1"; do
        # shellcheck disable=SC2086 # words are meant
        check "$name, $how: text" "$(text_of "$@" --head screened $how)" "$stored"
        check "$name, $how: logits" "$(stat_of "$work/stats" logits_sha256)" "$golden"
    done
}

"$bin/tmac-synth" --shape dim=130,hidden=347,layers=2,heads=5,kv_heads=5,vocab=411,context=128,bitnet=1,bf16=1,tied=0 \
    --seed 3 "$work/model.tm2" 2>"$work/err" || fail "synthesis" "$(cat "$work/err")"
for how in "-t 0" "-t 1 -k 1" "-t 1 -k 5 -s 4" "-t 0.7 -k 40 -p 0.95" "-t 1 -k 300" "-t 1 -k 0"; do
    # shellcheck disable=SC2086
    judge "synthetic $how" "$work/model.tm2" -n 40 -i "The wind the wind the" $how
done
if [ -f "$TMAC_DATA/stories260K.bin" ]; then
    for how in "-t 0" "-t 1 -k 8 -s 2"; do
        # shellcheck disable=SC2086
        judge "stories260K $how" "$TMAC_DATA/stories260K.bin" -z "$TMAC_DATA/tok512.bin" -n 100 \
            -i "Lily and Tom went to the park. Lily and Tom" $how
    done
    text_of "$TMAC_DATA/stories260K.bin" -z "$TMAC_DATA/tok512.bin" -n 100 -t 0 --head screened --draft 6 \
        -i "Lily and Tom went to the park. Lily and Tom" >/dev/null
    check "stories260K: drafts were accepted" "$([ "$(stat_of "$work/stats" accepted)" -gt 0 ] && echo yes)" yes
else
    skip "a screened head of a real model" "no data folder at $TMAC_DATA"
fi
