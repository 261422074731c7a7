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
    golden=$(logits_of "$@" --head screened)
    for kind in 4 5 6 8; do
        check "$name: screened with $kind bits leaves the same rows" "$(logits_of "$@" --head screened:$kind)" "$golden"
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
"$bin/tmac-run" "$work/model.tm2" --head screened:7 >"$work/out" 2>"$work/err"
check "an unknown width is refused" "$? $(grep -c "screening knows 4, 5, 6 and 8 bits" "$work/err")" "2 1"

# The tuner tries widths on the model, tells, and remembers.
"$bin/tmac-synth" --shape dim=128,hidden=128,layers=1,heads=2,vocab=9000,context=64,bf16=0 "$work/wide.tm2" 2>"$work/err" ||
    fail "synthesis" "$(cat "$work/err")"
width_of() { logits_of "$work/wide.tm2" -t 0 -n 8 --head screened "$@" >/dev/null && stat_of "$work/stats" screen_bits; }
check "an untuned head is screened by rule" "$(width_of)" 5
"$bin/tmac-tune" --model "$work/wide.tm2" --rigor measure --time-limit 4 --accept-noise --isa scalar -j 1 --json \
    >"$work/table" 2>"$work/err" || fail "tuning" "$(cat "$work/err")"
chosen=$(tr -d '\n ' <"$work/table" | grep -o '"bits":[4568],"chosen":true' | tr -dc 4568)
check "the tuner chooses a width" "$([ -n "$chosen" ] && echo yes)" yes
check "and the head is screened with it" "$(width_of)" "$chosen"
check "with another number of threads too" "$(width_of -j 2)" "$chosen"
check "but not another head" "$("$bin/tmac-run" "$work/model.tm2" -t 0 -n 4 --head screened --stats 2>&1 | grep -c '5 bits (rule)')" 1
rm "$work/tune.db"*

if [ -f "$TMAC_DATA/stories260K.bin" ]; then
    judge stories260K "$TMAC_DATA/stories260K.bin" -z "$TMAC_DATA/tok512.bin" -t 0 -n 100 -i "Lily and the"
    rows=$(stat_of "$work/stats" head_rows) tokens=$(stat_of "$work/stats" head_screened)
    check "stories260K: screening leaves few rows" "$([ "$rows" -ge "$tokens" ] && [ "$rows" -lt $((tokens * 32)) ] && echo yes)" yes
    check "stories260K: and needs no fallback" "$(stat_of "$work/stats" head_fallbacks)" 0
else
    skip "heads of a real model" "no data folder at $TMAC_DATA"
fi
