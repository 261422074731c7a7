#!/usr/bin/env bash
# modes: sanitized
# Formats from the outside: conversions in a chain end where they began, tmac-info reads what tmac-convert wrote, and what
# cannot be done is refused in one clear line.
. tests/e2e/lib.sh.inc

refuse() { # name status reason command...
    local name=$1 status=$2 reason=$3 got
    shift 3
    rm -f "$work/out"
    "$@" >"$work/stdout" 2>"$work/err"
    got=$?
    if [ "$got" != "$status" ]; then fail "$name" "status $got: $(cat "$work/err")"
    elif ! grep -qF -- "$reason" "$work/err"; then fail "$name" "$(cat "$work/err")"
    elif [ -e "$work/out" ]; then fail "$name" "an output file is left"
    else pass "$name"; fi
}
convert() { "$bin/tmac-convert" "$@" 2>"$work/err" || { fail "convert $*" "$(cat "$work/err")"; return 1; }; }

# name first-file golden-run-options...: bin -> TM2 -> i2_s -> TM2 -> tq2_0 -> TM2 -> tq1_0 -> TM2
chain() {
    local name=$1 first=$2 last=$work/chain.tm2 golden step
    shift 2
    convert "$first" "$last" || return
    golden=$(logits_of "$last" "$@")
    [ -n "$golden" ] && pass "$name: the first TM2 runs" || fail "$name: the first TM2 runs"
    for step in i2_s tq2_0 tq1_0; do
        convert "$last" "$work/$step.gguf" --to gguf --type $step &&
            check "$name: logits of the GGUF ($step)" "$(logits_of "$work/$step.gguf" "$@")" "$golden"
        convert "$work/$step.gguf" "$last" &&
            check "$name: logits of the TM2 made of it" "$(logits_of "$last" "$@")" "$golden"
    done
}
"$bin/tmac-synth" --shape dim=256,hidden=512,layers=1,heads=4,kv_heads=2,vocab=300,context=64,bf16=1 "$work/blocks.tm2"
chain synthetic "$work/blocks.tm2" -t 0 -n 12 -i "The wind"

shape=dim=96,hidden=172,layers=2,heads=4,kv_heads=2,vocab=300,context=64,bf16=1
"$bin/tmac-synth" --shape $shape "$work/plain.tm2"
"$bin/tmac-synth" --shape $shape --huggingface "$work/folder" && pass "a Hugging Face folder is written" || fail "a Hugging Face folder is written"
convert -z "$work/plain.tm2" "$work/folder" "$work/converted.tm2"
check "a folder and the TM2 made of it" "$(logits_of "$work/folder" -z "$work/plain.tm2" -t 0 -n 12 -i wind)" \
    "$(logits_of "$work/converted.tm2" -t 0 -n 12 -i wind)"

check "a vocabulary that is given needs no word" "$(cat "$work/err")" ""
convert "$work/folder" "$work/silent.tm2"
check "a folder without a tokenizer converts with a word" "$(cat "$work/err")" "tmac-convert: warning: $work/folder: \
no tokenizer.json, tokenizer.model or tokenizer.bin in this folder; \
written without a vocabulary: give one with --tokenizer FILE, now or wherever the model runs"
check "what it wrote runs with a vocabulary" "$(logits_of "$work/silent.tm2" -z "$work/plain.tm2" -t 0 -n 12 -i wind)" \
    "$(logits_of "$work/converted.tm2" -t 0 -n 12 -i wind)"
"$bin/tmac-synth" --shape $shape,bitnet=0 --huggingface "$work/silu"
convert "$work/silu" "$work/silent.tm2" --strict
check "strict TM2, which never has a vocabulary, needs no word" "$(cat "$work/err")" ""

# The first run converts a folder into the cache, the second opens the file; a changed folder is another one.
check "a folder is converted once" "$(ls "$work"/cache/*.tm2* | wc -l)" 1
before=$(logits_of "$work/folder" -z "$work/plain.tm2" -t 0 -n 12 -i wind)
check "the converted file gives the same logits" "$before" "$(logits_of "$work/folder" --no-cache -z "$work/plain.tm2" -t 0 -n 12 -i wind)"
grep -q "was converted" "$work/stats" && fail "a word only when it is done" "$(cat "$work/stats")" || pass "a word only when it is done"
touch -d 2001-01-01 "$work/folder/config.json"
"$bin/tmac-run" "$work/folder" -z "$work/plain.tm2" -t 0 -n 4 -i wind 2>"$work/err" >/dev/null
grep -q "was converted to a file" "$work/err" && pass "a changed folder is converted again" || fail "a changed folder is converted again" "$(cat "$work/err")"
check "the cache holds both" "$(ls "$work"/cache/*.tm2* | wc -l)" 2
TMAC_CACHE=/dev/null/none logits_of "$work/folder" -z "$work/plain.tm2" -t 0 -n 12 -i wind >"$work/out"
check "without a cache the folder itself is read" "$(cat "$work/out")" "$before"

# So does a file whose ternary weights lie among floats; one that can be mapped as it is does not.
convert "$work/plain.tm2" "$work/slow.gguf" --to gguf --type f32
rm -rf "$work/cache"
run_slow() { "$bin/tmac-run" "$1" -t 0 -n 12 -i wind --stats --json 2>"$work/stats" >/dev/null; stat_of "$work/stats" logits_sha256; }
# How often a command opens a file: watched by inotify, whose system calls perl knows by number alone. Closings are
# watched too, so that two openings are not reported as one.
opens() { # file command...
    perl -e '
        my ($file, @command) = @ARGV;
        my ($new, $watch) = `uname -m` =~ /x86_64/ ? (294, 254) : (26, 27);
        my $events = syscall($new, 04000);
        syscall($watch, $events, $file, 0x38) >= 0 or die "no inotify\n";
        open my $from, "<&=", $events or die;
        system(@command) == 0 or die "failed\n";
        sysread $from, my $bytes, 65536;
        my ($count, $name) = 0;
        for (my $at = 0; $at < length $bytes; $at += 16 + $name) {
            (undef, my $mask, undef, $name) = unpack "lL3", substr $bytes, $at, 16;
            $count++ if $mask & 0x20;
        }
        print $count' "$@"
}
check "a slow file is opened once" "$(opens "$work/slow.gguf" bash -c "'$bin/tmac-run' '$work/slow.gguf' -t 0 -n 1 -i wind >'$work/text' 2>&1")" 1
rm -rf "$work/cache"
first=$(run_slow "$work/slow.gguf")
check "a slow file is converted once" "$(grep -c 'slow.gguf was converted to a file' "$work/stats") $(ls "$work"/cache/*.tm2* | wc -l)" "1 1"
check "and gives the same logits" "$(run_slow "$work/slow.gguf")" "$first"
check "a word only when it is done, for a file" "$(grep -c 'was converted' "$work/stats")" 0
check "as without the cache" "$(logits_of "$work/slow.gguf" --no-cache -t 0 -n 12 -i wind)" "$first"
run_slow "$work/plain.tm2" >/dev/null
check "a file that can be mapped is not converted" "$(ls "$work"/cache/*.tm2* | wc -l)" 1
touch -d 2001-01-01 "$work/slow.gguf"
check "a changed file is converted again" "$(run_slow "$work/slow.gguf") $(grep -c 'was converted' "$work/stats")" "$first 1"

"$bin/tmac-info" "$work/folder" >"$work/info" && grep -q "Hugging Face" "$work/info" && grep -q "ternary" "$work/info" &&
    pass "tmac-info on a folder" || fail "tmac-info on a folder" "$(cat "$work/info")"
"$bin/tmac-info" --json "$work/i2_s.gguf" >"$work/info" && grep -q '"architecture":"bitnet"' "$work/info" &&
    pass "tmac-info --json" || fail "tmac-info --json" "$(cat "$work/info")"
"$bin/tmac-info" -m "$work/plain.tm2" | grep -q "blk.1.ffn_down  *96 x 172" && pass "tmac-info -m" || fail "tmac-info -m"
refuse "tmac-info on what is no model" 1 "no format we know" "$bin/tmac-info" tests/e2e/formats.sh

model=$work/plain.tm2
refuse "unknown target" 2 "expected tm2, gguf or tmac" "$bin/tmac-convert" "$model" "$work/out" --to onnx
refuse "GGUF without a type" 2 "--to gguf needs --type" "$bin/tmac-convert" "$model" "$work/out" --to gguf
refuse "unknown type" 2 "expected f32, f16" "$bin/tmac-convert" "$model" "$work/out" --to gguf --type q2_k
refuse "a type without GGUF" 2 "--type goes with --to gguf" "$bin/tmac-convert" "$model" "$work/out" --type f32
refuse "TMAC v1 without leave" 2 "needs --quantize ternary" "$bin/tmac-convert" "$model" "$work/out" --to tmac
refuse "TMAC v1 of a BitNet" 1 "plain llama models alone" "$bin/tmac-convert" "$model" "$work/out" --to tmac --quantize ternary
refuse "unknown rounding" 2 "expected ternary, q4 or q8" "$bin/tmac-convert" "$model" "$work/out" --quantize q5
refuse "eight bits in TM2" 2 "--quantize q8 goes with" "$bin/tmac-convert" "$model" "$work/out" --quantize q8
refuse "unknown base-3 order" 2 "expected rows or flat" "$bin/tmac-convert" "$model" "$work/out" --base3 up
refuse "unknown I2_S layout" 2 "expected canonical or neon64" "$bin/tmac-convert" "$model" "$work/out" --i2s-layout amd
"$bin/tmac-synth" --shape dim=24,hidden=20,layers=1,heads=2,vocab=300 "$work/odd.tm2"
refuse "I2_S of a shape it cannot hold" 1 "do not fill whole blocks" "$bin/tmac-convert" "$work/odd.tm2" "$work/out" --to gguf --type i2_s

if [ -f "$TMAC_DATA/stories260K.bin" ]; then
    chain bitllama-3M "$TMAC_DATA/bitllama-3M-msb.bin" -z "$TMAC_DATA/tok512.bin" -t 0 -n 30
    refuse "a float model in a ternary type" 1 "is not ternary" "$bin/tmac-convert" "$TMAC_DATA/stories260K.bin" "$work/out" --to gguf --type i2_s
    for kind in ternary q4; do
        convert "$TMAC_DATA/stories260K.bin" "$work/rounded.tm2" --quantize $kind
        grep -q "mean squared error" "$work/err" && pass "--quantize $kind reports" || fail "--quantize $kind reports" "$(cat "$work/err")"
        "$bin/tmac-info" "$work/rounded.tm2" | grep -q " ${kind}" && pass "--quantize $kind rounds" || fail "--quantize $kind rounds"
    done
    convert "$TMAC_DATA/stories260K.bin" "$work/rounded.tm2" --quantize ternary
    grep -q garbage "$work/err" && pass "--quantize ternary warns" || fail "--quantize ternary warns"
    convert "$TMAC_DATA/stories260K.bin" "$work/v1.bin" --to tmac --quantize ternary &&
        "$bin/tmac-info" "$work/v1.bin" | grep -q "TMAC v1" && pass "TMAC v1 is written and read" || fail "TMAC v1 is written and read"
    "$bin/tmac-info" "$TMAC_DATA/llama-spm-vocab.gguf" | grep -q "32000 pieces" && pass "tmac-info on a vocabulary" || fail "tmac-info on a vocabulary"
else
    skip "real models in a chain" "no data folder at $TMAC_DATA"
fi
