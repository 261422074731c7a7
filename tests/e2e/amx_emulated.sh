# The amx kernels' own text, compiled with tile instructions emulated in C, under the kernel checker.
cd "$(dirname "$0")/../.." || exit 1
. tests/e2e/lib.sh.inc
checker=$BUILD/tests/check-kernels-amx
if [ ! -x "$checker" ]; then
    echo "skip - amx kernels, emulated: $checker was not built"
elif ! "$BUILD/bin/tmac-run" --isa list | grep -qx avx512vbmi; then
    echo "skip - amx kernels, emulated: they decode with AVX512-VBMI, which this host has not"
else
    last=$("$checker" --emulated amx --filter _amx_ --problems 50 | tail -n 1)
    check "amx kernels, emulated, are exact" "${last##*, }" "0 failed"
fi
