#!/usr/bin/env bash
# Drafted decoding gives the same text and the same logits as decoding without drafts, greedy and sampled.
. tests/e2e/lib.sh.inc
[ -f "$TMAC_DATA/golden.json" ] || { skip "drafting on real models" "no data folder at $TMAC_DATA"; exit 0; }

tokenizer=(-z "$TMAC_DATA/tok512.bin")
prompt=(-i "Lily and Tom went to the park. Lily and Tom saw a dog. Lily and")

run() { # model and arguments: the text in $work/text, the statistics in $work/stats
    "$bin/tmac-run" "$@" "${prompt[@]}" -n 200 --stats --json >"$work/text" 2>"$work/stats" || tail -n 2 "$work/stats"
}

compare() { # name arguments...
    local name=$1 text logits
    shift
    run "$@"
    text=$(cat "$work/text") logits=$(stat_of "$work/stats" logits_sha256)
    check "$name: no drafts unless asked for" "$(stat_of "$work/stats" drafted)" 0
    for most in 1 4 8; do
        run "$@" --draft "$most"
        check "$name: --draft $most: text" "$(cat "$work/text")" "$text"
        check "$name: --draft $most: logits" "$(stat_of "$work/stats" logits_sha256)" "$logits"
        check "$name: --draft $most: drafts were tried" "$([ "$(stat_of "$work/stats" drafted)" -gt 0 ] && echo yes)" yes
    done
    run "$@" --draft 8 --batch 3 -j 1
    check "$name: --draft 8 --batch 3: logits" "$(stat_of "$work/stats" logits_sha256)" "$logits"
}

for how in "-t 0" "-t 1 -s 7" "-t 0.8 -k 20 -p 0.95 -s 3"; do
    # shellcheck disable=SC2086 # words are meant
    compare "bitllama $how" "$TMAC_DATA/bitllama-3M-i2_s.gguf" $how
    # shellcheck disable=SC2086
    compare "stories260K $how" "$TMAC_DATA/stories260K.bin" "${tokenizer[@]}" $how
done
run "$TMAC_DATA/bitllama-3M-i2_s.gguf" -t 0 --draft 8
check "greedy drafts are accepted" "$([ "$(stat_of "$work/stats" accepted)" -gt 0 ] && echo yes)" yes
check "and save batches" "$([ "$(stat_of "$work/stats" decode_calls)" -lt "$(stat_of "$work/stats" generated_tokens)" ] && echo yes)" yes
"$bin/tmac-run" "$TMAC_DATA/bitllama-3M-i2_s.gguf" --draft 65 >/dev/null 2>"$work/err"
check "an absurd draft is refused" "$?" 2
