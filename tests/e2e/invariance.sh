#!/usr/bin/env bash
# One fingerprint of the logits for every way of running the same real model.
. tests/e2e/lib.sh.inc
[ -f "$TMAC_DATA/golden.json" ] || { skip "real models" "no data folder at $TMAC_DATA"; exit 0; }

tokenizer=(-z "$TMAC_DATA/tok512.bin")
prompt=(-t 0 -n 120 -i "Lily and the big red dog went to the")

every_way() { # name golden arguments...
    local name=$1 golden=$2
    shift 2
    for isa in $("$bin/tmac-run" --isa list); do
        check "$name: --isa $isa" "$(logits_of "$@" --isa "$isa")" "$golden"
    done
    for threads in 1 2; do check "$name: -j $threads" "$(logits_of "$@" -j $threads)" "$golden"; done
    for batch in 1 7; do check "$name: --batch $batch" "$(logits_of "$@" --batch $batch)" "$golden"; done
}

convert() { # in out options...
    "$bin/tmac-convert" "$@" 2>"$work/err" || fail "converting $1" "$(cat "$work/err")"
}

msb=("$TMAC_DATA/bitllama-3M-msb.bin" "${tokenizer[@]}" --bit-order msb "${prompt[@]}")
lsb=("$TMAC_DATA/bitllama-3M-lsb.bin" "${tokenizer[@]}" --bit-order lsb "${prompt[@]}")
gguf=("$TMAC_DATA/bitllama-3M-i2_s.gguf" "${prompt[@]}")
float=("$TMAC_DATA/stories260K.bin" "${tokenizer[@]}" "${prompt[@]}")

first=$(logits_of "${msb[@]}")
check "the fingerprint is a SHA-256" "${#first}" 64
every_way "bitllama msb" "$first" "${msb[@]}"
check "bitllama lsb is the same model" "$(logits_of "${lsb[@]}")" "$first"

family=$(logits_of "${gguf[@]}")
every_way "i2_s GGUF" "$family" "${gguf[@]}"
for type in f32 tq2_0; do
    check "$type GGUF is the same model" "$(logits_of "$TMAC_DATA/bitllama-3M-$type.gguf" "${prompt[@]}")" "$family"
done

float_golden=$(logits_of "${float[@]}")
every_way "stories260K" "$float_golden" "${float[@]}"
check "the fingerprint tells models apart" "$([ "$first" != "$float_golden" ] && echo yes)" yes

convert "$TMAC_DATA/bitllama-3M-msb.bin" "$work/bin.tm2" --bit-order msb --tokenizer "$TMAC_DATA/tok512.bin"
check "bitllama through TM2" "$(logits_of "$work/bin.tm2" "${prompt[@]}")" "$first"
for type in f32 tq2_0 i2_s; do
    convert "$TMAC_DATA/bitllama-3M-$type.gguf" "$work/$type.tm2"
    check "$type GGUF through TM2" "$(logits_of "$work/$type.tm2" "${prompt[@]}")" "$family"
done
convert "$TMAC_DATA/stories260K.bin" "$work/float.tm2" --tokenizer "$TMAC_DATA/tok512.bin"
check "stories260K through TM2" "$(logits_of "$work/float.tm2" "${prompt[@]}")" "$float_golden"

quantized=$(logits_of "${msb[@]}" --kv int8)
every_way "bitllama with an int8 KV cache" "$quantized" "${msb[@]}" --kv int8
check "int8 KV cache differs from f16" "$([ "$quantized" != "$first" ] && echo yes)" yes
check "f32 KV cache differs from f16" "$([ "$(logits_of "${msb[@]}" --kv f32)" != "$first" ] && echo yes)" yes

"$bin/tmac-tune" --model "$work/bin.tm2" --rigor quick --time-limit 8 --only mad --accept-noise -j 1 >/dev/null 2>"$work/err" ||
    fail "tuning" "$(cat "$work/err")"
check "bitllama after tuning" "$(logits_of "${msb[@]}" -j 1)" "$first"
check "the tuned kernels are in use" "$(stat_of "$work/stats" rung)" host
