#!/usr/bin/env bash
# modes: sanitized
# tmac-convert and tmac-synth from the outside: what they write, and that bad input ends with one clear line, status 1
# and no output file.
. tests/e2e/lib.sh.inc
out=$work/out.tm2

# Runs a command that must fail: status, one line of message with the reason in it, nothing left behind.
refuse() { # name status reason command...
    local name=$1 status=$2 reason=$3 got
    shift 3
    rm -f "$out"
    "$@" >"$work/stdout" 2>"$work/err"
    got=$?
    if [ "$got" != "$status" ]; then fail "$name" "status $got: $(cat "$work/err")"
    elif [ "$(wc -l <"$work/err")" != 1 ]; then fail "$name" "not one line: $(cat "$work/err")"
    elif ! grep -qF -- "$reason" "$work/err"; then fail "$name" "$(cat "$work/err")"
    elif [ -e "$out" ] || compgen -G "$out.tmp.*" >/dev/null; then fail "$name" "an output file is left"
    else pass "$name"; fi
}
convert() { "$bin/tmac-convert" "$@" 2>"$work/err"; }

model=$work/tiny.tm2
"$bin/tmac-synth" --shape tiny-bitnet --seed 5 "$model" && pass "synthesis" || fail "synthesis"
"$bin/tmac-synth" --shape tiny-bitnet --seed 5 "$work/same.tm2" && cmp -s "$model" "$work/same.tm2" &&
    pass "synthesis is deterministic" || fail "synthesis is deterministic"
"$bin/tmac-synth" --shape tiny-bitnet --seed 6 "$work/other.tm2" && ! cmp -s "$model" "$work/other.tm2" &&
    pass "another seed, another model" || fail "another seed, another model"
convert --verify "$model" && pass "verification" || fail "verification" "$(cat "$work/err")"
convert "$model" "$out" && convert --verify "$out" && pass "TM2 to TM2" || fail "TM2 to TM2" "$(cat "$work/err")"

bytes=$(stat -c %s "$model")
for length in 1 27 31 33 1000 $((bytes / 2)) $((bytes - 1)); do
    head -c "$length" "$model" >"$work/bad.tm2"
    refuse "truncated to $length bytes" 1 "$work/bad.tm2: " "$bin/tmac-convert" "$work/bad.tm2" "$out"
done
{ cat "$model"; echo more; } >"$work/bad.tm2"
refuse "oversized" 1 "$work/bad.tm2: " "$bin/tmac-convert" "$work/bad.tm2" "$out"
: >"$work/bad.tm2"
refuse "zero length" 1 "is empty" "$bin/tmac-convert" "$work/bad.tm2" "$out"
{ printf 'nope'; tail -c +5 "$model"; } >"$work/bad.tm2"
refuse "wrong magic" 1 "no format we know" "$bin/tmac-convert" "$work/bad.tm2" "$out"
{ printf 'TM2\0\377\377\377\177'; tail -c +9 "$model"; } >"$work/bad.tm2"
refuse "absurd dimension" 1 "$work/bad.tm2: " "$bin/tmac-convert" "$work/bad.tm2" "$out"
refuse "a folder without a model" 1 "config.json not found" "$bin/tmac-convert" "$work" "$out"
refuse "no such file" 1 "No such file" "$bin/tmac-convert" "$work/nowhere" "$out"
refuse "the output's folder is missing" 1 "$work/no/out" "$bin/tmac-convert" "$model" "$work/no/out"
refuse "strict where the body cannot say it" 1 "squared ReLU" "$bin/tmac-convert" --strict "$model" "$out"
"$bin/tmac-synth" --shape dim=16,hidden=16,layers=1,heads=2,vocab=290 "$work/few.tm2"
refuse "wrong tokenizer size" 1 "holds 290 pieces" "$bin/tmac-convert" "$model" "$out" --tokenizer "$work/few.tm2"
refuse "unknown bit order" 2 "expected msb or lsb" "$bin/tmac-convert" "$model" "$out" --bit-order big
refuse "one operand" 2 "expected IN and OUT" "$bin/tmac-convert" "$model"
refuse "unknown shape" 2 "bitnet-2b-4t" "$bin/tmac-synth" --shape nothing "$out"
refuse "absurd shape" 1 "layers" "$bin/tmac-synth" --shape dim=8,hidden=8,layers=100000,heads=1 "$out"
# Root reads everything, so root asks as nobody.
as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
cp "$model" "$work/bad.tm2" && chmod 755 "$work" && chmod 000 "$work/bad.tm2"
if "${as_nobody[@]}" "$bin/tmac-convert" --version >/dev/null 2>&1; then
    refuse "unreadable" 1 "Permission denied" "${as_nobody[@]}" "$bin/tmac-convert" "$work/bad.tm2" "$out"
else
    skip "unreadable" "root cannot become nobody here"
fi
rm -f "$work/bad.tm2"

# A file damaged after it was written is what --verify is for.
cp "$model" "$work/bad.tm2"
printf '\377' | dd of="$work/bad.tm2" bs=1 seek=$((bytes / 3)) conv=notrunc 2>/dev/null
refuse "verification finds damage" 1 "damaged" "$bin/tmac-convert" --verify "$work/bad.tm2"

if [ -f "$TMAC_DATA/bitllama-3M-msb.bin" ]; then
    for name in bitllama-3M-f32.gguf bitllama-3M-tq2_0.gguf bitllama-3M-i2_s.gguf bitllama-3M-lsb.bin bitllama-3M-msb.bin hf-bitllama-3M; do
        convert --strict "$TMAC_DATA/$name" "$work/$name.strict" || fail "strict $name" "$(cat "$work/err")"
        check "strict $name is the same file" "$(sha256sum <"$work/$name.strict")" "$(sha256sum <"$work/bitllama-3M-f32.gguf.strict")"
        convert "$TMAC_DATA/$name" "$out" && convert --verify "$out" && pass "$name verifies" || fail "$name verifies" "$(cat "$work/err")"
    done
    { cat "$TMAC_DATA/bitllama-3M-msb.bin" | tr 'g' 'h'; } >"$work/unknown.bin"
    refuse "unknown bit order" 1 "--bit-order msb" "$bin/tmac-convert" "$work/unknown.bin" "$out"
    refuse "tokenizer of another model" 1 "holds 32000 pieces" "$bin/tmac-convert" "$TMAC_DATA/stories260K.bin" "$out" \
        --tokenizer "$TMAC_DATA/tokenizer-32000.bin"
    refuse "a vocabulary is no model" 1 "not a model" "$bin/tmac-convert" "$TMAC_DATA/llama-spm-vocab.gguf" "$out"
    refuse "no vocabulary" 1 "no vocabulary we know" "$bin/tmac-convert" "$TMAC_DATA/stories260K.bin" "$out" \
        --tokenizer "$TMAC_DATA/tinyshakespeare.txt"
else
    skip "real models convert" "no data folder at $TMAC_DATA"
fi
