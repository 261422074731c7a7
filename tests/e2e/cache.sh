#!/usr/bin/env bash
# modes: sanitized threads
# The packed-weight cache: the same logits with and without it, and whatever has become of the file.
. tests/e2e/lib.sh.inc
"$bin/tmac-synth" --shape dim=256,hidden=512,layers=3,heads=4,kv_heads=2,vocab=512,context=128 "$work/m.tm2" >/dev/null 2>&1
[ -f "$work/m.tm2" ] || fail "a synthetic model" ""
run() { "$bin/tmac-run" "$work/m.tm2" -t 0 -n 30 -i Once -q --stats --json "$@" 2>"$work/stats" >/dev/null || tail -n 1 "$work/stats"; stat_of "$work/stats" logits_sha256; }
stamp() { stat -c %i "$1" 2>/dev/null; }

golden=$(run --no-cache)
check "--no-cache writes nothing" "$(ls "$work/cache" 2>/dev/null)" ""
check "the first start" "$(run)" "$golden"
file=$(ls "$work"/cache/*.tmacpack)
check "leaves one file" "$(ls "$work/cache" | wc -l)" 1
before=$(stamp "$file")
for threads in 1 2; do check "a second start, -j $threads" "$(run -j $threads)" "$golden"; done
check "writes nothing" "$(stamp "$file")" "$before"
check "another instruction set" "$(run --isa scalar)" "$golden"
check "and back" "$(run)" "$golden"
cp "$file" "$work/good"

damage() { # name command...
    local name=$1
    shift
    cp "$work/good" "$file"
    "$@"
    check "$name: the same logits" "$(run)" "$golden"
    check "$name: the file is rebuilt" "$(cmp "$file" "$work/good" 2>&1)" ""
}
poke() { printf '\377' | dd of="$file" bs=1 seek="$1" conv=notrunc 2>/dev/null; }
damage "a truncated file" truncate -s 5000 "$file"
damage "an empty file" truncate -s 0 "$file"
damage "half a header" truncate -s 100 "$file"
damage "a longer file" truncate -s +1 "$file"
damage "a foreign file" cp "$work/m.tm2" "$file"
for at in 0 9 13 20 30 50 90 140 200 300 8192 70000; do damage "a damaged byte $at" poke "$at"; done

# Two models, each with a file; a changed one is not mistaken for the old.
"$bin/tmac-synth" --shape dim=256,hidden=512,layers=3,heads=4,kv_heads=2,vocab=512,context=128 --seed 2 "$work/n.tm2" >/dev/null 2>&1
mv "$work/n.tm2" "$work/m.tm2"
other=$(run --no-cache)
check "another model under the same name" "$(run) $([ "$other" != "$golden" ] && echo differs)" "$other differs"
check "has a file of its own" "$(ls "$work/cache" | wc -l)" 2

rm -rf "$work/cache"
for i in 1 2 3 4; do run >"$work/got$i" 2>/dev/null & done
wait
check "four processes at once leave one file" "$(ls "$work/cache" | wc -l)" 1
check "that is good" "$(run)" "$other"

for place in /proc/nowhere /dev/null/x "$work/m.tm2"; do
    TMAC_CACHE=$place; check "no folder at ${place##*/}" "$(run)" "$other"
done
unset TMAC_CACHE
export HOME=$work/home XDG_CACHE_HOME=
check "~/.cache/tmac" "$(run; ls "$work/home/.cache/tmac" | grep -c tmacpack)" "$other
1"
check "no home at all" "$(unset HOME; run)" "$other"
check "pinned" "$(run --cpus 0 -j 2)" "$other"
"$bin/tmac-run" "$work/m.tm2" --cpus 0-x >/dev/null 2>"$work/err"
check "a list of processors that is none" "$? $(grep -c 'no list of processors' "$work/err")" "2 1"
"$bin/tmac-run" "$work/m.tm2" --cpus 4095 >/dev/null 2>"$work/err"
check "a processor that is not there" "$? $(grep -c 'processor 4095' "$work/err")" "2 1"

# Heads share the file with the matrices; a second start with each of them packs nothing.
rm -rf "$work/home" "$work/cache"
export TMAC_CACHE=$work/cache
for head in q4 q6 q8 screened stored; do
    golden=$(run --no-cache --head $head)
    check "--head $head: the first start" "$(run --head $head)" "$golden"
    before=$(stamp "$work"/cache/*.tmacpack)
    check "--head $head: the second start" "$(run --head $head)" "$golden"
    check "--head $head: writes nothing" "$(stamp "$work"/cache/*.tmacpack)" "$before"
done
check "one file holds them all" "$(ls "$work/cache" | wc -l)" 1
before=$(stamp "$work"/cache/*.tmacpack)
run --head q6 >/dev/null
check "a head of some starts ago is still there" "$(stamp "$work"/cache/*.tmacpack)" "$before"

# A disk that is full.
if unshare -rm true 2>/dev/null; then
    rm -rf "$work/cache"
    mkdir "$work/cache"
    export -f run stat_of
    export bin work
    check "a full disk: the same logits, and nothing is left there" "$(unshare -rm bash -c '
        mount -t tmpfs -o size=64k tmpfs "$work/cache" && run --head q8 && ls "$work/cache" | wc -l')" \
        "$(run --no-cache --head q8)
0"
else
    skip "a full disk" "no mount namespaces here"
fi
