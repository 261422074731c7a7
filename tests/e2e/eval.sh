#!/usr/bin/env bash
# tmac-eval: perplexity in windows, two models side by side.
. tests/e2e/lib.sh.inc
[ -f "$TMAC_DATA/bitllama-3M-i2_s.gguf" ] || { skip "perplexity" "no data folder at $TMAC_DATA"; exit 0; }
eval=$bin/tmac-eval
ternary=$TMAC_DATA/bitllama-3M-i2_s.gguf float=$TMAC_DATA/bitllama-3M-f32.gguf
head -c 3000 "$TMAC_DATA/tinyshakespeare.txt" >"$work/text"
printf 'Once upon a time, there was a little girl named Lily.' >"$work/short"
value() { perl -MJSON::PP -e 'my $v = decode_json(<STDIN>); $v = $v->{$_} for @ARGV; printf "%.9g\n", $v' "$@"; }
is() { perl -e 'print $ARGV[0] '"$2"' $ARGV[1] ? "yes" : "no: $ARGV[0] and $ARGV[1]"' "$1" "$3"; }

check "one window is nll" "$("$eval" perplexity "$ternary" -f "$work/short" --json | value nll mean)" \
    "$("$eval" nll "$ternary" -f "$work/short" --json | value nll)"
plain=$("$eval" perplexity "$ternary" -f "$work/text" --chunk 64 --json)
check "windows do not depend on batches" "$("$eval" perplexity "$ternary" -f "$work/text" --chunk 64 --json --batch 7 -j 1)" "$plain"
strided=$("$eval" perplexity "$ternary" -f "$work/text" --chunk 64 --stride 16 --json)
check "overlapping windows judge the same tokens" "$(echo "$strided" | value tokens)" "$(echo "$plain" | value tokens)"
check "with more context, better" "$(is "$(echo "$strided" | value nll mean)" '<' "$(echo "$plain" | value nll mean)")" yes
check "there is an error bar" "$(is "$(echo "$plain" | value nll error)" '>' 0)" yes
check "--limit" "$("$eval" perplexity "$ternary" -f "$work/text" --limit 50 --json | value tokens)" 50

same=$("$eval" kl "$ternary" "$ternary" -f "$work/text" --limit 300 --json)
check "a model is no distance from itself" "$(echo "$same" | value divergence_max) $(echo "$same" | value difference mean) $(echo "$same" | value same_choice)" "0 0 1"
other=$("$eval" kl "$ternary" "$float" -f "$work/text" --limit 300 --json)
check "the ternary file and its float form are one model" "$(is "$(echo "$other" | value divergence mean)" '<' 1e-6)" yes
cut=$("$eval" kl "$TMAC_DATA/stories260K.bin" "$ternary" -z "$TMAC_DATA/tok512.bin" -f "$work/text" --limit 300 --json)
check "two models are apart" "$(is "$(echo "$cut" | value divergence mean)" '>' 0.01)" yes
check "compare for people" "$("$eval" compare "$ternary" "$float" -f "$work/text" --limit 100 | grep -c '^MODEL\|^OTHER\|^difference\|^same choice')" 4

refuse() { # name status text command...
    local name=$1 status=$2 text=$3 got
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    check "$name" "$got $(grep -cF -- "$text" "$work/err")" "$status 1"
}
refuse "compare wants two models" 2 "compare judges 2 models, not 1" "$eval" compare "$ternary" -f "$work/text"
refuse "a stride beyond the window" 2 "next begins within it" "$eval" perplexity "$ternary" -f "$work/text" --chunk 8 --stride 8
refuse "an unknown measure" 2 "expected nll, perplexity" "$eval" guess "$ternary" -f "$work/text"
