#!/usr/bin/env bash
# modes: none
# The model in models/: what it is, what it is worth against the grammar it learned from, and that it tells stories.
. tests/e2e/lib.sh.inc
train=$bin/tmac-train model=models/stories.tm2

check "the model is smaller than a megabyte" "$([ "$(stat -c %s $model)" -lt 1000000 ] && echo small)" small

# Stories that it was not trained on, nor validated on. The sample is small: its own mean is what the model is held to.
best=$("$train" tell models/grammar.lua --seed 99 --count 150 -o "$work/stories.txt" | sed -n 's/.*: \([0-9.]*\) nats a text.*/\1/p')
"$train" -o "$work/same.tm2" -j 2 --init $model --steps 0 --documents lines --validation "$work/stories.txt" \
    "$work/stories.txt" >"$work/log" 2>"$work/err" || fail "validating" "$(cat "$work/err")"
found=$(sed -n 's/^validation .* \([0-9.]*\) a document.*/\1/p' "$work/log")
check "on stories it never saw, it is near the best possible ($found of $best nats)" \
    "$(awk -v found="$found" -v best="$best" 'BEGIN { print (best > 50 && found > best && found < 1.05 * best) ? "near" : "far" }')" near

# It starts and ends a story as the grammar does, and holds on to the name.
for seed in 1 2 3; do
    story=$("$bin/tmac-run" $model -t 0.5 -s $seed -j 1 -i "Anna was a" 2>"$work/err")
    name=$(grep -o 'Anna' <<<"$story" | wc -l)
    check "story $seed names its heroine again and comes to an end" \
        "$([ "$name" -ge 2 ] && [ "$(wc -w <<<"$story")" -gt 80 ] && [[ "$story" == *[.!] ]] && echo yes)" yes
done
