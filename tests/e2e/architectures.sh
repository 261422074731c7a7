#!/usr/bin/env bash
# modes: threads
# Architectures beyond plain llama and bitnet: tiny synthetic models give the committed logits on every instruction set,
# number of threads and batch, and again after a way through GGUF and a Hugging Face folder where these can say them.
. tests/e2e/lib.sh.inc

while read -r name shape golden; do
    [ -n "$name" ] || continue
    model=$work/$name.tm2
    "$bin/tmac-synth" --shape "$shape" --seed 1 "$model" 2>"$work/err" || { fail "$name: synthesis" "$(cat "$work/err")"; continue; }
    run=(-t 0 -n 40 -i "The wind")
    for isa in $("$bin/tmac-run" --isa list); do
        check "$name: logits under --isa $isa" "$(logits_of "$model" "${run[@]}" --isa "$isa")" "$golden"
    done
    check "$name: logits with 3 threads, one token at once" "$(logits_of "$model" "${run[@]}" -j 3 --batch 1)" "$golden"
    if [ "$name" = qwen3-yarn ]; then
        "$bin/tmac-convert" "$model" "$work/x.gguf" --to gguf --type f32 2>"$work/err" && fail "$name: GGUF cannot say it"
        grep -q "no architecture that computes the same" "$work/err" && pass "$name: GGUF cannot say it" || fail "$name: GGUF cannot say it" "$(cat "$work/err")"
        continue
    fi
    for type in f32 f16 tq2_0 i2_s; do
        case $type in i2_s) "$bin/tmac-convert" "$model" "$work/x.gguf" --to gguf --type $type 2>/dev/null || continue ;; # blocks of 128 do not fit every shape
        *) "$bin/tmac-convert" "$model" "$work/x.gguf" --to gguf --type $type 2>"$work/err" || { fail "$name: GGUF $type" "$(cat "$work/err")"; continue; } ;; esac
        [ $type = f16 ] && continue # its embedding is rounded
        [ $type = tq2_0 ] && { grep -q "falling back to f16" "$work/err" && pass "$name: tq2_0 falls back" || fail "$name: tq2_0 falls back"; continue; }
        check "$name: logits of the GGUF ($type)" "$(logits_of "$work/x.gguf" "${run[@]}")" "$golden"
    done
done < tests/golden/architectures.txt
