#!/usr/bin/env bash
# Texts and likelihoods of real models (the data folder's golden.json), from every file of each model and after
# conversion to TM2, strict TM2 included.
. tests/e2e/lib.sh.inc
[ -f "$TMAC_DATA/golden.json" ] || { skip "golden texts" "no data folder at $TMAC_DATA"; exit 0; }
export bin work
exec perl tests/e2e/golden.pl
