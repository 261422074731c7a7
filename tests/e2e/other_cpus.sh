#!/usr/bin/env bash
# Processors that this host is not (qemu-user): each finds its own instruction sets, executes no instruction that it
# lacks, in our code or in a library's, and gives the same logits and texts.
. tests/e2e/lib.sh.inc
[ "$(uname -m)" = x86_64 ] && command -v qemu-x86_64 >/dev/null ||
    { skip "other processors" "no qemu-x86_64 (apt-get install qemu-user)"; exit 0; }

cpu=
emulated() { qemu-x86_64 -cpu "$cpu" "$@"; }
emulated_logits_of() {
    emulated "$bin/tmac-run" "$@" --stats --json 2>"$work/stats" >"$work/text" && stat_of "$work/stats" logits_sha256
}

# The other models of tests/golden/synthetic.txt are for `invariance`, which caps the sets on this host.
grep -E '^(llama|bitnet) ' tests/golden/synthetic.txt >"$work/models"
while read -r name shape _; do "$bin/tmac-synth" --shape "$shape" --seed 1 "$work/$name.tm2"; done <"$work/models"

# Processor, models, instruction sets. From the fifth on they are hypervisors that hide features, the state of
# registers, or all leaves above 6. (Not SSSE3 alone: where SSE4.2 is shown, glibc's strcspn() uses both.)
while read -r cpu models sets; do
    check "$cpu: instruction sets" "$(emulated "$bin/tmac-run" --isa list 2>/dev/null | tr '\n' ' ')" "$sets "
    grep -E "^($models) " "$work/models" >"$work/chosen"
    while read -r name _ golden; do
        check "$cpu: logits of $name" "$(emulated_logits_of "$work/$name.tm2" -t 0 -n 48 -i "The wind" -j 2)" "$golden"
    done <"$work/chosen"
done <<'END'
qemu64 llama|bitnet scalar
core2duo llama|bitnet scalar ssse3
Nehalem llama scalar ssse3 sse41
Haswell llama|bitnet scalar ssse3 sse41 avx2
max,-fma llama scalar ssse3 sse41
max,-ssse3,-sse4.2 llama scalar
max,-sse4.2 llama scalar ssse3 sse41
qemu64,-sse3 llama scalar
Haswell,-xsave none scalar ssse3 sse41
Haswell,level=6 none scalar ssse3 sse41
END

# No kernel uses an instruction more than its set has.
for cpu in core2duo Nehalem; do
    emulated "$BUILD/tests/check-kernels" --reduced >"$work/kernels" 2>&1
    if tail -n 1 "$work/kernels" | grep -q '^[1-9][0-9]* passed, 0 failed'; then pass "$cpu: kernels"
    else fail "$cpu: kernels" "$(tail -n 5 "$work/kernels")"; fi
done

cpu=qemu64
# The tuner measures what it has time for and stores it: SQLite, libsodium.
emulated "$bin/tmac-tune" -m "$work/llama.tm2" --db "$work/old.db" --rigor quick --time-limit 2 -j 1 >"$work/tuned" 2>&1 &&
    emulated "$bin/tmac-db" --db "$work/old.db" status >>"$work/tuned" 2>&1
check "$cpu: tuning" "$?" 0

# Training calls OpenBLAS, which takes such a hypervisor for an Opteron, and runs SSE3 code on a processor without it.
"$bin/tmac-train" tell models/grammar.lua -o "$work/stories.txt" --count 40 --seed 3 >/dev/null
"$bin/tmac-train" tokenizer -o "$work/tok.bin" --size 290 "$work/stories.txt" 2>/dev/null
for cpu in qemu64 qemu64,-sse3; do
    emulated "$bin/tmac-train" -o "$work/trained.tm2" -z "$work/tok.bin" --batch 2 --shards 1 --steps 1 --documents lines \
        -j 1 --shape dim=16,hidden=32,layers=1,heads=2,context=32 --hold-out 0.05 "$work/stories.txt" >"$work/log" 2>&1
    check "$cpu: training ends" $? 0
done

# The text of a real model.
cpu=core2duo
[ -f "$TMAC_DATA/golden.json" ] || { skip "golden texts on other processors" "no data folder at $TMAC_DATA"; exit 0; }
run=("$TMAC_DATA/stories260K.bin" -z "$TMAC_DATA/tok512.bin" -t 0 -n 60)
native=$(logits_of "${run[@]}")
"$bin/tmac-run" "${run[@]}" >"$work/want" 2>/dev/null
check "$cpu: logits of a real model" "$(emulated_logits_of "${run[@]}")" "${native:-none}"
check "$cpu: its text" "$(cat "$work/text")" "$(cat "$work/want")"
