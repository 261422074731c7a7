#!/usr/bin/env bash
# tmac-db report: one page that needs nothing from elsewhere, and that a browser draws.
. tests/e2e/lib.sh.inc
# Half a second is enough on an idle machine; on a busy one it goes on where it stopped, until there is something to draw.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    "$bin/tmac-tune" --shape dim=64,hidden=96,layers=1,heads=2,kv_heads=1,vocab=96,context=32 --isa scalar \
        --rigor quick --time-limit 0.5 -j 1 >/dev/null 2>"$work/err" || fail "tuning" "$(cat "$work/err")"
    [ "$("$bin/tmac-db" sql 'select count(*) as n from trial' 2>/dev/null | tail -n 1)" -ge 3 ] 2>/dev/null && break
done
"$bin/tmac-db" report "$work/report.html" 2>"$work/err"
check "a report is written" "$? $(head -c 15 "$work/report.html" 2>/dev/null)" "0 <!doctype html>"
check "it has no scripts and nothing from elsewhere" "$(grep -Eci '<script|https?://|<link|@import|url\(' "$work/report.html")" 0
for part in Roofline 'Before and after' candidates; do
    grep -q "$part" "$work/report.html" && pass "it has: $part" || fail "it has: $part"
done
check "their heads are repeated on paper" "$(grep -o '<table><thead>' "$work/report.html" | wc -l)" "$(grep -o '<table>' "$work/report.html" | wc -l)"
check "tables are closed" "$(grep -o '<table>' "$work/report.html" | wc -l)" "$(grep -o '</table>' "$work/report.html" | wc -l)"
"$bin/tmac-db" --db "$work/none.db" report "$work/no.html" 2>/dev/null
check "no database, no report" "$? $(ls "$work/no.html" 2>/dev/null)" "1 "
browser=$(command -v chromium || command -v chromium-browser)
if [ -z "$browser" ]; then skip "a browser draws it" "no chromium"; exit 0; fi
mkdir "$work/profile"
draw() {
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/profile" "$@" "file://$work/report.html" >/dev/null 2>&1
}
draw --window-size=1100,1600 --screenshot="$work/page.png"
check "a browser draws it" "$(head -c 4 "$work/page.png" 2>/dev/null | tail -c 3)" PNG
[ "$(stat -c %s "$work/page.png" 2>/dev/null || echo 0)" -gt 20000 ] && pass "and the page is not blank" || fail "and the page is not blank"
draw --print-to-pdf="$work/page.pdf"
check "and prints it" "$(head -c 4 "$work/page.pdf" 2>/dev/null)" %PDF
