#!/usr/bin/env bash
# 64-bit Arm, cross-compiled and emulated (make test-aarch64): every kernel, the instruction sets found on processors of
# several ages, and the same logits and texts as here.
. tests/e2e/lib.sh.inc
arm=$BUILD/aarch64
[ -x "$arm/bin/tmac-run" ] && [ -x "$arm/tests/check-kernels" ] && command -v qemu-aarch64 >/dev/null ||
    { skip "64-bit Arm" "no cross-compiled programs and emulator: make test-aarch64 prepares them"; exit 0; }

cpu=max
emulated() { qemu-aarch64 -cpu "$cpu" -L "$arm/sysroot" "$@"; }
emulated_logits_of() {
    emulated "$arm/bin/tmac-run" "$@" --stats --json 2>"$work/stats" >"$work/text" && stat_of "$work/stats" logits_sha256
}

# Processor, its instruction sets. Kernels of all others must be passed over, and none may use an instruction more than
# its set has: the emulator knows only what the processor knows.
while read -r cpu sets; do
    check "$cpu: instruction sets" "$(emulated "$arm/bin/tmac-run" --isa list | tr '\n' ' ')" "$sets "
    emulated "$arm/tests/check-kernels" --reduced >"$work/kernels" 2>&1
    if tail -n 1 "$work/kernels" | grep -q '^[1-9][0-9]* passed, 0 failed$'; then pass "$cpu: kernels"
    else fail "$cpu: kernels" "$(tail -n 5 "$work/kernels")"; fi
    [ "$cpu" = max ] || continue
    check "$cpu: no kernel is passed over" "$(grep -o '[0-9]* skipped' "$work/kernels")" "0 skipped"
done <<'END'
cortex-a53 scalar neon
cortex-a76 scalar neon dotprod
max scalar neon dotprod i8mm
END
cpu=max

# Arm's own kernels on long rows and many tokens as well.
for isa in neon dotprod i8mm; do
    check "$isa: the whole checker" "$(emulated "$arm/tests/check-kernels" --filter "_${isa}_" --problems 2 2>&1 |
        tail -n 1 | sed 's/^[1-9][0-9]* //')" "passed, 0 failed"
done

emulated "$arm/tests/unit" >"$work/units" 2>&1 || grep -q '^not ok' "$work/units" || fail "units" "$(tail -n 3 "$work/units")"
cat "$work/units"

# The models of tests/golden/synthetic.txt, synthesised on both processors.
while read -r name shape golden options; do
    [ -n "$name" ] || continue
    model=$work/$name.tm2
    "$bin/tmac-synth" --shape "$shape" --seed 1 "$work/native.tm2" 2>"$work/err"
    emulated "$arm/bin/tmac-synth" --shape "$shape" --seed 1 "$model" 2>"$work/err"
    if cmp -s "$work/native.tm2" "$model"; then pass "$name: the same model file"; else fail "$name: the same model file" "$(cat "$work/err")"; fi
    for isa in scalar neon dotprod i8mm; do
        check "$name: logits under --isa $isa" "$(emulated_logits_of "$model" -t 0 -n 48 -i "The wind" --isa $isa $options)" "$golden"
    done
    check "$name: logits with 2 threads, 3 tokens at once" \
        "$(emulated_logits_of "$model" -t 0 -n 48 -i "The wind" -j 2 --batch 3 $options)" "$golden"
done < tests/golden/synthetic.txt

# Real models, one file of each type: the text that golden.json demands, and the logits of the native programs.
[ -f "$TMAC_DATA/golden.json" ] || { skip "golden texts on 64-bit Arm" "no data folder at $TMAC_DATA"; exit 0; }
export TMAC_DATA
golden_text() { # model: writes the longest text from an empty prompt and prints how many tokens it has
    perl -MJSON::PP -e 'local $/; open my $in, "<", "$ENV{TMAC_DATA}/golden.json" or die; my ($case) =
        sort { $b->{n} <=> $a->{n} } grep { $_->{model} eq $ARGV[0] && $_->{prompt} eq "" } @{decode_json(<$in>)->{texts}};
        die "no text" unless $case; open my $out, ">:utf8", $ARGV[1] or die; print $out $case->{text}; print $case->{n}' \
        "$1" "$work/want"
}
while read -r model file options; do
    n=$(golden_text "$model") || { fail "$file: a golden text" "golden.json has none for $model"; continue; }
    # shellcheck disable=SC2086 # options are words
    run=("$TMAC_DATA/$file" $options -z "$TMAC_DATA/tok512.bin" -t 0 -n "$n")
    native=$(logits_of "${run[@]}")
    check "$file: the logits of the native build" "$(emulated_logits_of "${run[@]}")" "${native:-none}"
    if cmp -s -n "$(wc -c <"$work/want")" "$work/want" "$work/text"; then pass "$file: golden text"
    else fail "$file: golden text" "$(head -c 200 "$work/text")"; fi
done <<'END'
bitllama-3M bitllama-3M-msb.bin --bit-order msb
bitllama-3M bitllama-3M-f32.gguf
bitllama-3M bitllama-3M-tq2_0.gguf
bitllama-3M bitllama-3M-i2_s.gguf
stories260K stories260K.bin
END
