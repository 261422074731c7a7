#!/usr/bin/env bash
# modes: sanitized threads
# Heads: each kind gives one fingerprint however it runs; the screened head chooses what the stored one chooses.
. tests/e2e/lib.sh.inc

text_of() { "$bin/tmac-run" "$@" -q 2>"$work/err" || cat "$work/err"; }

judge() { # name model arguments...
    local name=$1 stored golden kind
    shift
    stored=$(logits_of "$@")
    check "$name: stored is the default" "$(logits_of "$@" --head stored)" "$stored"
    for kind in q8 q6 q4; do
        golden=$(logits_of "$@" --head $kind)
        check "$name: $kind differs from stored" "$([ -n "$golden" ] && [ "$golden" != "$stored" ] && echo yes)" yes
        for isa in $("$bin/tmac-run" --isa list); do
            check "$name: $kind under --isa $isa" "$(logits_of "$@" --head $kind --isa "$isa" -j 1)" "$golden"
        done
        check "$name: $kind with 3 threads, 3 at once" "$(logits_of "$@" --head $kind -j 3 --batch 3)" "$golden"
    done
    for isa in $("$bin/tmac-run" --isa list); do
        check "$name: screened greedy text under $isa" "$(text_of "$@" --head screened --isa "$isa" -j 2)" "$(text_of "$@")"
    done
    check "$name: screened top-k text" "$(text_of "$@" -t 1 -k 5 --head screened -j 3)" "$(text_of "$@" -t 1 -k 5)"
    check "$name: sampling from all uses all logits" "$(logits_of "$@" -t 1 -k 0 --head screened)" "$(logits_of "$@" -t 1 -k 0)"
    logits_of "$@" --head screened >/dev/null
    check "$name: every choice was screened" "$(stat_of "$work/stats" head_screened)" "$(stat_of "$work/stats" generated_tokens)"
}

"$bin/tmac-synth" --shape dim=130,hidden=347,layers=2,heads=5,kv_heads=5,vocab=411,context=128,bitnet=1,bf16=1,tied=0 \
    --seed 1 "$work/model.tm2" 2>"$work/err" || fail "synthesis" "$(cat "$work/err")"
judge synthetic "$work/model.tm2" -t 0 -n 40 -i "The wind"
"$bin/tmac-run" "$work/model.tm2" --head q5 >"$work/out" 2>"$work/err"
check "an unknown head is refused" "$? $(grep -c "unknown head 'q5'" "$work/err")" "2 1"

if [ -f "$TMAC_DATA/stories260K.bin" ]; then
    judge stories260K "$TMAC_DATA/stories260K.bin" -z "$TMAC_DATA/tok512.bin" -t 0 -n 100 -i "Lily and the"
    rows=$(stat_of "$work/stats" head_rows) tokens=$(stat_of "$work/stats" head_screened)
    check "stories260K: screening leaves few rows" "$([ "$rows" -ge "$tokens" ] && [ "$rows" -lt $((tokens * 32)) ] && echo yes)" yes
    check "stories260K: and needs no fallback" "$(stat_of "$work/stats" head_fallbacks)" 0
else
    skip "heads of a real model" "no data folder at $TMAC_DATA"
fi
