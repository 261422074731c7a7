#!/usr/bin/env bash
# tmac-tune: rigors and their options, a noisy neighbour, whole plans, --require-tuned, and what SIGKILL cannot take.
# modes:
. tests/e2e/lib.sh.inc
export HOME=$work
shape=dim=128,hidden=352,layers=2,heads=4,kv_heads=2,vocab=64
tune() { "$bin/tmac-tune" "$@" 2>&1; }
quick=(--shape "$shape" --rigor quick -j 1 --isa scalar)
trials() { "$bin/tmac-db" --db "$1" status --json | sed -n 's/.*"trial": \([0-9]*\).*/\1/p'; }
has() { if [[ $2 == *$3* ]]; then pass "$1"; else fail "$1" "$2"; fi; }

# ---- options
out=$(tune "${quick[@]}" --dry-run --db "$work/dry.db")
has "--dry-run prints the plan of work" "$out" "kernels to prove"
if [ -e "$work/dry.db" ]; then fail "--dry-run writes nothing"; else pass "--dry-run writes nothing"; fi
out=$(tune --shape "$shape" --rigor estimate -j 1 --db "$work/dry.db")
has "estimate names the rule" "$out" " rule"
if [ -e "$work/dry.db" ]; then fail "estimate writes nothing"; else pass "estimate writes nothing"; fi
tune "${quick[@]}" --only 'mad2_scalar_r16*' --accept-noise --db "$work/only.db" >/dev/null
names=$(sed 's/[^[:print:]]/\n/g' "$work/only.db"* | grep -c "lut2_scalar")
check "--only leaves other families out" "$names" 0
out=$(tune "${quick[@]}" -j 1,2 --time-limit 4 --accept-noise --db "$work/two.db" | grep -c "threads:")
check "-j LIST tunes for each" "$out" 2
for bad in "-j 0" "-j 1,,2" "--mix 1" "--mix 0:0" "--rigor hasty" "--repetitions 0" "--shapes all"; do
    # shellcheck disable=SC2086
    "$bin/tmac-tune" "${quick[@]}" --db "$work/bad.db" $bad >/dev/null 2>&1
    check "refused: $bad" $? 2
done
out=$(tune --shape "$shape" -j 1 --isa scalar --replay "$work/none.db")
has "a replay of nothing says what to do" "$out" "exhaustive first"

# ---- whole plans, and --require-tuned
"$bin/tmac-synth" --shape "$shape" "$work/model.tm2" >/dev/null 2>&1
"$bin/tmac-run" "$work/model.tm2" --no-cache -j 1 -n 4 -t 0 --isa scalar --require-tuned >/dev/null 2>"$work/why"
status=$?
if grep -q vocabulary "$work/why"; then
    skip "--require-tuned" "the synthetic model has no vocabulary"
else
    check "--require-tuned refuses an untuned host" "$status" 1
    has "and says what to run" "$(cat "$work/why")" "tmac-tune --model"
fi
tune --model "$work/model.tm2" --rigor measure --time-limit 20 -j 1 --isa scalar --accept-noise --json >"$work/report.json"
has "whole plans are judged on the model" "$(cat "$work/report.json")" '"plan": "measured"'
if ! grep -q vocabulary "$work/why"; then
    "$bin/tmac-run" "$work/model.tm2" --no-cache -j 1 -n 4 -t 0 --isa scalar --require-tuned >/dev/null 2>"$work/why"
    check "--require-tuned runs on a tuned host" $? 0
fi

# ---- a program with nothing but the plan
if [ -f /usr/lib/"$(uname -m)"-linux-gnu/libsodium.a ]; then
    "$bin/tmac-tune" --model "$work/model.tm2" --rigor estimate -j 1 --emit-c "$work/device" >/dev/null
    check "a plan is emitted as C" $? 0
    if make -s -f "$work/device/tmac_plan.mk" BUILD="$BUILD" >"$work/why" 2>&1; then
        pass "and links"
        if ldd "$work/device/tmac-run" >/dev/null 2>&1; then fail "static"; else pass "static"; fi
        if grep -q "SQLite format 3" "$work/device/tmac-run"; then fail "without SQLite"; else pass "without SQLite"; fi
        check "the same logits" "$("$work/device/tmac-run" "$work/model.tm2" -j 1 -n 8 -t 0 --no-cache --stats --json 2>&1 >/dev/null | sed -n 's/.*logits_sha256":"\([0-9a-f]*\).*/\1/p')" \
            "$("$bin/tmac-run" "$work/model.tm2" -j 1 -n 8 -t 0 --no-cache --stats --json 2>&1 >/dev/null | sed -n 's/.*logits_sha256":"\([0-9a-f]*\).*/\1/p')"
    else
        fail "and links" "$(cat "$work/why")"
    fi
else
    skip "a program with nothing but the plan" "no static libraries"
fi

# ---- a noisy neighbour: this shell's own copy, burning all processors
cp "$(command -v bash)" "$work/neighbour"
burners=()
for _ in $(seq $(($(nproc) + 1))); do
    "$work/neighbour" -c 'while :; do :; done' &
    burners+=($!)
done
named=
for _ in 1 2 3; do
    out=$(tune "${quick[@]}" --require-quiet --db "$work/refused.db")
    status=$?
    [[ $out == *neighbour* ]] && named=yes && break
done
check "--require-quiet refuses a busy host" "$status" 1
has "and says so" "$out" "not quiet"
if [ "$named" = yes ]; then
    pass "and names who it is"
elif [[ $out == *"(process "* ]]; then
    skip "and names who it is" "somebody else is busier: $out"
else
    fail "and names who it is" "$out"
fi
if [ -e "$work/refused.db" ] && [ "$(trials "$work/refused.db")" != "" ]; then fail "and stores nothing"; else pass "and stores nothing"; fi
tune "${quick[@]}" --json --db "$work/noisy.db" >"$work/noisy.json"
if grep -q '"noisy_trials": 0' "$work/noisy.json"; then fail "measurements in noise are marked" "$(cat "$work/noisy.json")"; else pass "measurements in noise are marked"; fi
kill "${burners[@]}"
wait "${burners[@]}" 2>/dev/null

# ---- SIGKILL at 50 random moments: no committed measurement is gone, the file is sound
db=$work/killed.db
RANDOM=17
last=0 sound=yes
for round in $(seq 50); do
    "$bin/tmac-tune" "${quick[@]}" --seed "$round" --accept-noise --only mad2 --db "$db" >/dev/null 2>&1 &
    child=$!
    sleep "$((round / 45 * 2)).$((RANDOM % 60 + 10))" # the last ones later: a busy host stores something too
    kill -9 "$child" 2>/dev/null
    wait "$child" 2>/dev/null
    [ -e "$db" ] || continue
    now=$(trials "$db")
    [ "${now:-0}" -ge "$last" ] || sound="trials fell from $last to $now"
    last=${now:-0}
    [ $((round % 10)) = 0 ] && ! "$bin/tmac-db" --db "$db" status | grep -q "integrity ok" && sound="integrity"
done 2>/dev/null
check "SIGKILL at 50 moments loses nothing" "$sound" yes
if [ "$last" -gt 0 ]; then pass "something was stored between the kills"; else fail "something was stored between the kills"; fi
