#!/usr/bin/env bash
# modes: threads
# Tiny synthetic models must give the committed logits on every machine, instruction set, number of threads, batch, and
# with and without tuning: a bare clone proves that the whole chain is right and the same everywhere.
. tests/e2e/lib.sh.inc

# name, shape, fingerprint, options of tmac-run. A fingerprint changes only when the arithmetic of docs/DESIGN.md section 3 does.
while read -r name shape golden options; do
    [ -n "$name" ] || continue
    model=$work/$name.tm2
    "$bin/tmac-synth" --shape "$shape" --seed 1 "$model" 2>"$work/err" || { fail "$name: synthesis" "$(cat "$work/err")"; continue; }
    run=("$model" -t 0 -n 48 -i "The wind" $options)
    for isa in $("$bin/tmac-run" --isa list); do
        check "$name: logits under --isa $isa" "$(logits_of "${run[@]}" --isa "$isa")" "$golden"
    done
    for threads in 2 3; do
        check "$name: logits with $threads threads" "$(logits_of "${run[@]}" -j $threads)" "$golden"
    done
    for batch in 1 3; do
        check "$name: logits with $batch tokens at once" "$(logits_of "${run[@]}" --batch $batch)" "$golden"
    done
    "$bin/tmac-tune" --model "$model" --rigor quick --time-limit 5 --only mad --accept-noise -j 1 >/dev/null 2>"$work/err" ||
        fail "$name: tuning" "$(cat "$work/err")"
    check "$name: logits after tuning" "$(logits_of "${run[@]}" -j 1)" "$golden"
    check "$name: the tuned kernels are in use" "$(stat_of "$work/stats" rung)" host
done < tests/golden/synthetic.txt
