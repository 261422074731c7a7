#!/usr/bin/env bash
# Runs fuzz targets one after the other: FUZZ_RUNS executions each, from the committed corpus and what earlier runs found
# ($FUZZ/found/TARGET). What crashes a target is left in $FUZZ/crashes with the target's name in front. For `make fuzz`.
#
# A small quarantine and short stacks keep memory in the cache: ten thousand executions a second and more, so that ten
# million take 3 to 15 minutes a target.
set -u
export ASAN_OPTIONS=quarantine_size_mb=8:malloc_context_size=4:allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
mkdir -p "$FUZZ/crashes"
status=0
for target in "$@"; do
    mkdir -p "$FUZZ/found/$target"
    if "$FUZZ/fuzz-$target" -runs="$FUZZ_RUNS" -max_len=8192 -timeout="${FUZZ_TIMEOUT:-25}" -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$FUZZ/crashes/$target-" "$FUZZ/found/$target" "tests/fuzz/corpus/$target" \
        >"$FUZZ/$target.log" 2>&1; then
        printf '%-16s %s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$FUZZ/$target.log") executions"
    else
        printf '%-16s failed; see %s\n' "$target" "$FUZZ/$target.log"
        tail -n 25 "$FUZZ/$target.log"
        status=1
    fi
done
exit $status
