#!/usr/bin/env bash
# The installed tree: a program of somebody else's is compiled against it with pkg-config and run, shared and static;
# manual pages and completions are there; uninstall leaves nothing; an archive holds the sources.
. tests/e2e/lib.sh.inc
unset MAKEFLAGS MAKELEVEL
CC=${CC:-cc}
run_make() { make --no-print-directory -s BUILD="$BUILD" DESTDIR="$work/root" PREFIX=/opt/tmac "$@" >"$work/make" 2>&1; }

if ! run_make install; then fail "make install" "$(cat "$work/make")"; exit; fi
pass "make install"
root=$work/root/opt/tmac
for program in "$bin"/tmac-*; do
    name=$(basename "$program")
    [ -x "$root/bin/$name" ] && [ -f "$root/share/man/man1/$name.1" ] && pass "$name and its manual" || fail "$name and its manual"
done
check "the installed program runs" "$("$root/bin/tmac-run" --version)" "$("$bin/tmac-run" --version)"

"$bin/tmac-synth" --shape dim=64,hidden=96,layers=2,heads=4,vocab=300,context=64 "$work/model.tm2"
expected=$("$bin/tmac-run" -q -t 0 -n 20 -i "the wind" "$work/model.tm2")
export PKG_CONFIG_PATH=$root/lib/pkgconfig
flags() { pkg-config --define-variable=prefix="$root" "$@" tmac; }
example=$root/share/doc/tmac/examples/complete.c
# tmac-run stops after 20 positions: its text is the beginning of a longer one.
first_line() { head -n 1 | sed 's/^ *//'; }
expected=$(first_line <<<"$expected")
continuation() { "$work/$1" "$work/model.tm2" "the wind" 40 | first_line | cut -c "1-${#expected}"; }
for kind in shared static; do
    libraries=$([ $kind = shared ] && flags --libs || echo "$root/lib/libtmac.a $(flags --libs --static | sed 's/-ltmac//')")
    # shellcheck disable=SC2046,SC2086
    if $CC -std=c17 -Wall -Wextra -Werror $(flags --cflags) "$example" $libraries -o "$work/$kind" 2>"$work/cc"; then
        pass "a program is compiled, $kind"
        got=$(LD_LIBRARY_PATH=$root/lib continuation $kind 2>&1)
        check "its text is that of tmac-run, $kind" "$got" "$expected"
    else
        fail "a program is compiled, $kind" "$(cat "$work/cc")"
    fi
done
check "it needs libtmac by its soname" "$(readelf -d "$work/shared" | grep -o 'libtmac.so[.0-9]*')" "libtmac.so.0"
nm -D --defined-only "$root/lib/libtmac.so" | awk '{print $3}' >"$work/symbols"
grep -qx tmac_decode "$work/symbols" && ! grep -qvE '^tmac_|^$' "$work/symbols" && ! grep -qE 'tmac_(sha|tm2_find|pack_)' "$work/symbols" &&
    pass "the library shows what its headers declare" || fail "the library shows what its headers declare" "$(head -n 3 "$work/symbols")"

complete_words() { # program words...: what bash would offer for the last of them
    (
        . "$root/share/bash-completion/completions/$1"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "_${1//-/_}"
        printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '
    )
}
check "completion of an option" "$(complete_words tmac-run --require)" "--require-tuned "
check "completion of a command" "$(complete_words tmac-db expl)" "explain "
touch "$work/some-model.tm2"
check "completion of a file" "$(complete_words tmac-run --tokenizer "$work/some")" "$work/some-model.tm2 "
for program in "$bin"/tmac-*; do
    name=$(basename "$program")
    bash -n "$root/share/bash-completion/completions/$name" || fail "completion of $name"
    check "completion knows every option of $name" "$(complete_words "$name" --)" \
        "$("$program" --help | sed -n 's/^ *\(-[a-z], \)\{0,1\}\(--[a-z0-9-]*\).*/\2/p' | sort -u | tr '\n' ' ')"
done

run_make uninstall && check "make uninstall leaves nothing" "$(find "$work/root" ! -type d)" "" || fail "make uninstall" "$(cat "$work/make")"
if run_make dist && tar -tzf "$BUILD"/tmac-*.tar.gz >"$work/list" 2>/dev/null; then
    grep -q '^tmac-[0-9.]*/runtime/tmac.h$' "$work/list" && grep -q 'tests/fuzz/corpus/' "$work/list" && ! grep -qE '\.o$|/\.git/' "$work/list" &&
        pass "make dist" || fail "make dist" "$(head -n 3 "$work/list")"
else
    fail "make dist" "$(cat "$work/make")"
fi
