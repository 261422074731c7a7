#!/usr/bin/env bash
# modes: sanitized threads
# tmac-run and tmac-eval on a real model: positions, prompts, seeds, streams, statistics, refusals.
. tests/e2e/lib.sh.inc
[ -f "$TMAC_DATA/stories260K.bin" ] || { skip "running a model" "no data folder at $TMAC_DATA"; exit 0; }
run=$bin/tmac-run eval=$bin/tmac-eval tokenize=$bin/tmac-tokenize
model=("$TMAC_DATA/stories260K.bin" -z "$TMAC_DATA/tok512.bin")

# Tokens, without BOS, of a text.
tokens_in() { "$tokenize" "$TMAC_DATA/tok512.bin" --ids --no-bos | wc -w; }
generate() { "$run" "${model[@]}" -q "$@" 2>"$work/err"; }

text=$(generate -t 0 -n 60 -i Zoo)
check "-n counts positions" "$(printf '%s' "$text" | tokens_in)" 60
check "the text begins with the prompt" "${text:0:3}" Zoo
check "a shorter text is a prefix" "$(case $text in "$(generate -t 0 -n 20 -i Zoo)"*) echo yes ;; esac)" yes
check "-i - reads standard input" "$(printf Zoo | generate -t 0 -n 60 -i -)" "$text"
check "no prompt is an empty prompt" "$(generate -t 0 -n 30)" "$(generate -t 0 -n 30 -i '')"
check "-n 1 ends inside a longer prompt" "$(generate -t 0 -n 1 -i 'Once upon a time')" "$(generate -t 0 -n 1 -i 'Once upon a hill')"
generate -t 0 -i Zoo >"$work/whole"
generate -t 0 -i Zoo -n 100000 >"$work/more"
check "-n is at most the context" "$(cmp "$work/whole" "$work/more" 2>&1)" ""

check "a seed gives one text" "$(generate -n 60 -s 5 -i Zoo)" "$(generate -n 60 -s 5 -i Zoo -j 1 --batch 1 --isa scalar)"
check "another seed, another text" "$([ "$(generate -n 60 -s 5 -i Zoo)" != "$(generate -n 60 -s 6 -i Zoo)" ] && echo yes)" yes
check "top-k 1 is greedy" "$(generate -n 60 -k 1 -i Zoo)" "$text"
check "a tiny top-p is greedy" "$(generate -n 60 -p 1e-9 -i Zoo)" "$text"

prompt=$'\xc3\xa9t\xc3\xa9 \xf0\x9f\xa6\x99'
check "a prompt beyond ASCII comes back" "$(generate -t 0 -n 4 -i "$prompt" | head -c 2)" $'\xc3\xa9'
check "a prompt of any bytes comes back" "$(generate -t 0 -n 9 -i $'\xff\xfeab' | head -c 4 | od -An -tx1 | tr -d ' ')" fffe6162

"$run" "${model[@]}" -t 0 -n 60 -i Zoo --stats --json >/dev/null 2>"$work/stats"
for pair in prompt_tokens=4 generated_tokens=57; do
    check "stats: ${pair%=*}" "$(stat_of "$work/stats" "${pair%=*}")" "${pair#*=}"
done
check "stats: the keys" "$(tail -n 1 "$work/stats" | perl -MJSON::PP -e 'print join " ", sort keys %{decode_json(<STDIN>)}')" \
    "accepted decode_calls decode_tps drafted generated_tokens head head_bytes_per_token head_fallbacks head_rows head_screened isa kernels logits_sha256 matrix_bytes_per_token peak_rss_bytes plan prompt_tokens prompt_tps rss_bytes rung screen_bits start_ns threads time_ns waiting_ns"
check "stats: -j" "$("$run" "${model[@]}" -t 0 -n 9 -j 1 --stats --json 2>&1 >/dev/null | tail -n 1 | perl -MJSON::PP -e 'print decode_json(<STDIN>)->{threads}')" 1
check "stats for people" "$("$run" "${model[@]}" -t 0 -n 9 --stats 2>&1 >/dev/null | grep -c 'logits [0-9a-f]\{64\}$')" 1
check "speed, kernels and rung without being asked" "$("$run" "${model[@]}" -t 0 -n 9 2>&1 >/dev/null | grep -c 'tokens/s\|rung rule')" 2
check "--quiet is quiet" "$(generate -t 0 -n 9 >/dev/null; cat "$work/err")" ""

refuse() { # name status text command...
    local name=$1 status=$2 text=$3 got
    shift 3
    "$@" >"$work/out" 2>"$work/err"
    got=$?
    check "$name" "$got $(grep -cF -- "$text" "$work/err")" "$status 1"
}
refuse "a negative temperature" 2 "temperature -1" "$run" "${model[@]}" -t -1
refuse "top-p above 1" 2 "top-p 1.5" "$run" "${model[@]}" -p 1.5
refuse "a model without a vocabulary" 2 "give one with -z" "$run" "$TMAC_DATA/stories260K.bin"
refuse "a tokenizer for another model" 1 "tokenizer-32000.bin" "$run" "$TMAC_DATA/stories260K.bin" -z "$TMAC_DATA/tokenizer-32000.bin"
refuse "a prompt longer than the context" 1 "context holds 512" "$run" "${model[@]}" -i "$(head -c 6000 "$TMAC_DATA/tinyshakespeare.txt")"
refuse "a database that is none" 1 "$TMAC_DATA/tok512.bin" "$run" "${model[@]}" -n 5 --db "$TMAC_DATA/tok512.bin"
refuse "a full disk" 1 "No space left" bash -c '"$@" >/dev/full' run "$run" "${model[@]}" -q -n 5

# A broken default database must not keep anybody from running a model.
printf 'not a database, but long enough to be looked at as one' >"$work/broken.db"
TMAC_DB=$work/broken.db "$run" "${model[@]}" -q -t 0 -n 60 -i Zoo >"$work/out" 2>"$work/err"
check "a broken default database is a warning" "$? $(grep -c warning "$work/err") $(cat "$work/out")" "0 1 $text"

printf 'Once upon a time, there was a little girl named Lily.' >"$work/text"
judged=$("$eval" nll "${model[@]}" -f "$work/text" --json)
check "eval: one pass, whatever the batch" "$("$eval" nll "${model[@]}" -f "$work/text" --json --batch 3 -j 1 --isa scalar)" "$judged"
check "eval: -f - reads standard input" "$("$eval" nll "${model[@]}" -f - --json <"$work/text")" "$judged"
check "eval: likely text has a low perplexity" "$(perl -MJSON::PP -e 'my $j = decode_json($ARGV[0]); print $j->{perplexity} < 4 && abs(log($j->{perplexity}) - $j->{nll}) < 1e-12 ? "yes" : "no"' "$judged")" yes
check "eval: tokens count BOS" "$(perl -MJSON::PP -e 'print decode_json($ARGV[0])->{tokens}' "$judged")" $(($(tokens_in <"$work/text") + 1))
: >"$work/nothing"
refuse "eval: an empty text" 1 "nothing to judge" "$eval" nll "${model[@]}" -f "$work/nothing"
refuse "eval: a text longer than the context" 1 "context holds 512" "$eval" nll "${model[@]}" -f "$TMAC_DATA/tinyshakespeare.txt"
refuse "eval: a text that is not there" 1 "$work/missing" "$eval" nll "${model[@]}" -f "$work/missing"
refuse "eval: a directory as text" 1 "$work" "$eval" nll "${model[@]}" -f "$work"
