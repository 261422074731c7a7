#!/usr/bin/env bash
# modes: sanitized
# tmac-tokenize on real vocabularies: the reference's cases, bytes of all kinds there and back.
. tests/e2e/lib.sh.inc
[ -f "$TMAC_DATA/tokenizer-cases.json" ] || { skip "tokenizer cases" "no data folder at $TMAC_DATA"; exit 0; }
tokenize=$bin/tmac-tokenize

# One line per case: the text in hexadecimal, then its ids.
perl -MJSON::PP -e '
    local $/; open my $file, "<", $ARGV[0] or die; my $cases = JSON::PP->new->utf8->decode(<$file>);
    for (@{$cases->{"llama-spm"}}) { my $t = $_->{text}; utf8::encode($t); print unpack("H*", $t), " @{$_->{ids}}\n" }
' "$TMAC_DATA/tokenizer-cases.json" >"$work/cases"
check "there are cases" "$([ "$(wc -l <"$work/cases")" -ge 20 ] && echo yes)" yes

for vocabulary in llama-spm-vocab.gguf tokenizer-32000.bin; do
    number=0
    while IFS=' ' read -r hex ids; do
        number=$((number + 1))
        # An empty text has an empty first field, which read would skip.
        [[ "$hex" =~ ^([0-9a-f][0-9a-f])*$ ]] || { fail "$vocabulary: case $number" "cannot be read"; continue; }
        perl -e 'print pack "H*", $ARGV[0]' "$hex" >"$work/text"
        check "$vocabulary: case $number" "$("$tokenize" "$TMAC_DATA/$vocabulary" --ids --no-bos <"$work/text")" "$ids"
    done < <(grep -v '^ ' "$work/cases")
    check "$vocabulary: the empty text" "$("$tokenize" "$TMAC_DATA/$vocabulary" --ids --no-bos </dev/null)" ""
    check "$vocabulary: BOS" "$("$tokenize" "$TMAC_DATA/$vocabulary" --ids </dev/null)" 1
    check "$vocabulary: text in the form of a control token" \
        "$(printf '<s>' | "$tokenize" "$TMAC_DATA/$vocabulary" --ids --no-bos | tr ' ' '\n' | grep -cx 1)" 0
done

perl -e 'print pack "C*", map { (($_ * 7919) >> 3) % 256 } 0..4999; print pack "C*", reverse 0..255' >"$work/bytes"
for vocabulary in tok512.bin tokenizer-32000.bin llama-spm-vocab.gguf bitllama-3M-i2_s.gguf; do
    "$tokenize" "$TMAC_DATA/$vocabulary" --ids <"$work/bytes" | "$tokenize" "$TMAC_DATA/$vocabulary" --decode >"$work/back"
    check "$vocabulary: any bytes there and back" "$(cmp "$work/bytes" "$work/back" 2>&1)" ""
done

spm=$TMAC_DATA/llama-spm-vocab.gguf
check "readable output" "$(printf 'A\n' | "$tokenize" "$spm" | tr -s ' ' | tr '\n' ';')" " 1 '<s>'; 319 ' A'; 13 '<0x0A>';"
check "JSON output" "$(printf 'A' | "$tokenize" "$spm" --json)" '{"ids":[1,319],"pieces":["<s>"," A"]}'
check "JSON of bytes that are no UTF-8" "$(echo 1 258 | "$tokenize" "$spm" --decode --json)" $'{"text":"\xef\xbf\xbd"}'
echo "1 319 32000" | "$tokenize" "$spm" --decode >/dev/null 2>"$work/err"
check "an id outside the vocabulary" "$? $(grep -c "'32000'" "$work/err")" "1 1"
echo "1 3x" | "$tokenize" "$spm" --decode >/dev/null 2>"$work/err"
check "what is no id" "$?" 1
