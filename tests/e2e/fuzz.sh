#!/usr/bin/env bash
# modes: sanitized
# The committed corpus, its beginnings and changes of it through every fuzz target: nothing crashes. Empty files, too.
. tests/e2e/lib.sh.inc
: >"$work/empty"
for folder in tests/fuzz/corpus/*/; do
    target=$(basename "$folder")
    set -- "$folder"* "$work/empty"
    check "fuzz target $target" "$("$BUILD/tests/replay" "$target" "$@" 2>&1 | tail -n 5)" "$#"
done
