#!/usr/bin/env bash
# Writes tests/fuzz/corpus anew: the smallest files of every kind, made by our own programs, or here byte by byte where
# no program of ours writes the kind. For `make fuzz-corpus`.
set -eu
bin=$BUILD/bin
corpus=tests/fuzz/corpus
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$corpus"
mkdir -p "$corpus"/{tm2,gguf,llama2c,bitllama,edge,folder,vocabulary,sentencepiece,tokenizer_json,export}
synth() { "$bin/tmac-synth" --shape "$1" "$2"; }
convert() { "$bin/tmac-convert" "$@" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }; }

# Models of our own: TM2 with its extension, strict TM2, GGUF in every type, folders.
tiny=dim=16,hidden=24,layers=1,heads=2,vocab=12,context=8
synth $tiny "$corpus/tm2/ternary"
synth $tiny,bitnet=0,tied=0,bias=1,head_norms=1,rank=2,rope=llama3 "$corpus/tm2/extras"
synth $tiny,weights=q4,group=8 "$corpus/tm2/q4"
synth $tiny,bitnet=0,bf16=0 "$work/plain.tm2"
convert --strict "$work/plain.tm2" "$corpus/tm2/strict"
for type in f32 f16 bf16 i2_s; do convert "$corpus/tm2/ternary" "$corpus/gguf/$type" --to gguf --type $type; done
convert "$corpus/tm2/extras" "$corpus/gguf/extras" --to gguf --type f16

for kind in ternary extras; do
    shape=$tiny
    [ $kind = ternary ] || shape=$tiny,bitnet=0,tied=0,bias=1,head_norms=1
    "$bin/tmac-synth" --huggingface --shape "$shape" "$work/$kind"
    perl -e 'local $/; open A, "<", "$ARGV[0]/config.json"; $c = <A>; open B, "<", "$ARGV[0]/model.safetensors"; $w = <B>;
             print pack("v", length $c), $c, $w' "$work/$kind" >"$corpus/folder/$kind"
done

# Kinds that only other programs write.
perl - "$corpus" <<'PERL'
use strict;
my $corpus = $ARGV[0];
my ($dim, $hidden, $layers, $heads, $kv, $vocab, $context) = (16, 32, 1, 2, 1, 4, 4);
my $wide = $dim * $dim * 2 + $dim * $dim / 2 * 2; # q, o, k, v
my $weights = $wide + 3 * $dim * $hidden;
sub save { my ($name, @parts) = @_; open my $file, '>:raw', "$corpus/$name" or die; print $file @parts; close $file }
sub fields { pack 'l<7', $dim, $hidden, $layers, $heads, $kv, $_[0], $context }
sub floats { my ($count, @from) = @_; pack 'f<*', map { $from[($_ * 7 + int($_ / 5)) % @from] } 0 .. $count - 1 }
sub codes { join '', map { chr($_[1]->[($_ * 5 + int($_ / 3)) % @{$_[1]}]) } 0 .. $_[0] - 1 }
my $norms = floats(2 * $layers * $dim, 1, 0.5);

# llama2.c v0, with its own head and with the embedding's, floats and ternary.
my $tables = floats($context * $dim / $heads, 1, 0);
my $matrices = sub { my @of = @_; join '', floats($layers * $dim, 1), floats($dim * $dim, @of), floats($dim * $dim / 2, @of),
    floats($dim * $dim / 2, @of), floats($dim * $dim, @of), floats($layers * $dim, 1), floats($dim * $hidden, @of),
    floats($dim * $hidden, @of), floats($dim * $hidden, @of), floats($dim, 1) };
save('llama2c/tied', fields($vocab), floats($vocab * $dim, 0.1, -0.2), $matrices->(0.3, -0.7, 0.2), $tables);
save('llama2c/own', fields(-$vocab), floats($vocab * $dim, 0.1, -0.2), $matrices->(0.5, 0, -0.5), $tables, floats($vocab * $dim, 1, 2));

# v1 and v2 of the same, and bitllama2.c, which calls itself v1 too.
my $head = sub { my ($version, $tail) = @_; my $h = '24ka' . pack('l<', $version) . fields($vocab) . $tail; $h . "\0" x (256 - length $h) };
save('bitllama/v1', $head->(1, "\1"), $norms, floats($dim, 1), floats($vocab * $dim + $weights, 0.25, -0.5, 0));
save('bitllama/v2', $head->(2, "\1" . pack('l<', 16)), $norms, floats($dim, 1),
    map { codes($_, [1, 255, 0, 7]), floats($_ / 16, 0.5) } $vocab * $dim, $dim * $dim, $dim * $dim / 2, $dim * $dim / 2,
        $dim * $dim, ($dim * $hidden) x 3);
save('bitllama/bitllama', $head->(1, "\0"), $norms, floats($dim, 1), floats($vocab * $dim, 0.25, -0.5), codes($weights / 4, [0x51, 0x84, 0x16]), floats(7, 0.5),
    floats($vocab * $dim, 0.5));

# TMAC v1, Q4V1, Q8V1.
my @parts = ($vocab * $dim, -$layers * $dim, $dim * $dim, $dim * $dim / 2, $dim * $dim / 2, $dim * $dim, -$layers * $dim,
    ($dim * $hidden) x 3, -$dim, -$context * $dim / $heads / 2, -$context * $dim / $heads / 2);
my $half = pack 'v', 0x3800;
my %stream = (TMAC => sub { codes($_[0] / 4, [0x1d, 0xc4, 0x37]) },
    Q4V1 => sub { join '', map { $half, codes(16, [0x18, 0x97, 0x6a]) } 1 .. $_[0] / 32 },
    Q8V1 => sub { join '', map { $half, codes(32, [0x18, 0x97, 0x6a]) } 1 .. $_[0] / 32 });
my $number = 0;
for my $magic ('TMAC', 'Q4V1', 'Q8V1') {
    my $flags = $magic ne 'TMAC';
    # The target chooses the magic by the first byte.
    save("edge/$magic", chr($number++), substr($magic, 1), fields($vocab), $flags ? pack('l<', 32) : '',
        map { $_ > 0 ? ($flags ? "\1" : '') . $stream{$magic}->($_) : ($flags ? "\0" : '') . floats(-$_, 1, 0) } @parts);
}

# tokenizer.bin, tiktoken, sentencepiece, tokenizer.json.
my @pieces = ('<unk>', "\n<s>\n", "\n</s>\n", (map { sprintf '<0x%02X>', $_ } 0 .. 255), ' ', 'T', 'h', 'e', 'Th', 'The', "\xe2\x82\xac");
save('vocabulary/tokenizer.bin', pack('l<', 7), map { pack('f<l<', -$_, length $pieces[$_]), $pieces[$_] } 0 .. $#pieces);
use MIME::Base64;
my $rank = 0;
save('vocabulary/tiktoken', map { encode_base64($_, '') . ' ' . $rank++ . "\n" } (map { chr } 0 .. 255), 'Th', 'The', ' w');
sub field { my ($n, $text) = @_; chr($n << 3 | 2) . chr(length $text) . $text }
sub piece { my ($text, $score, $kind) = @_; field(1, field(1, $text) . chr(2 << 3 | 5) . pack('f<', $score) . chr(3 << 3) . chr($kind)) }
save('sentencepiece/bytes', piece('<unk>', 0, 2), piece('<s>', 0, 3), piece('</s>', 0, 3),
    (map { piece(sprintf('<0x%02X>', $_), 0, 6) } 0 .. 255), piece("\xe2\x96\x81", -1, 1), piece('T', -2, 1), piece('h', -3, 1),
    piece('Th', -4, 1), piece("\xe2\x96\x81Th", -5, 4), field(2, chr(3 << 3) . chr(2)), field(3, chr(3 << 3) . chr(1)));
my $added = '"added_tokens":[{"id":9,"content":"<|eot_id|>","special":true},{"id":10,"content":"[x]","special":false}]';
my $merges = '"vocab":{"T":0,"h":1,"\u0120":2,"Th":3,"e":4,"The":5,"1":6,"\u00c3":7,"w":8},"merges":["T h",["Th","e"]]';
my $split = '{"type":"Split","pattern":{"Regex":"\\\\p{L}+|\\\\s+"},"behavior":"Isolated","invert":false}';
my $level = '{"type":"ByteLevel","use_regex":false,"add_prefix_space":false}';
save('tokenizer_json/split', qq({$added,"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[$split,$level]},),
    qq("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|eot_id|>"}}]},"decoder":{"type":"ByteLevel"},),
    qq("model":{"type":"BPE","ignore_merges":true,"unk_token":"T",$merges}}));
save('tokenizer_json/level', qq({$added,"pre_tokenizer":{"type":"ByteLevel","use_regex":true},"model":{"type":"BPE",$merges}}));
save('tokenizer_json/falcon', qq({$added,"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},),
    qq({"type":"ByteLevel","use_regex":true},{"type":"Digits","individual_digits":false},),
    qq({"type":"Split","pattern":{"Regex":"[0-9][0-9][0-9]"},"behavior":"Isolated","invert":false}]},"model":{"type":"BPE",$merges}}));
save('tokenizer_json/fallback', qq({"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\xe2\x96\x81"}]},),
    qq("model":{"type":"BPE","byte_fallback":true,"vocab":{"<0x00>":0,"<0x54>":1,"\xe2\x96\x81":2,"T":3,"\xe2\x96\x81T":4},"merges":["\xe2\x96\x81 T"]}}));
PERL

# Records of the tuning database, with a NUL between them, and the frame of an export.
printf 'tmac run 1\nbandwidth 1799363238\nhost %s\nkernel 6.1.0\nmodel a%%0Ab%%25.tm2\nrigor quick\nseed 1\n\0tmac seal 2\n\0' \
    "$(printf 'c1%.0s' {1..32})" >"$corpus/export/records"
printf 'tmac host 1\ncpu A B (R)\nfamily 6\nhypervisor \nisa scalar,ssse3\n' >"$corpus/export/host"
printf 'tmac-export 1\nrecord 17\ntmac a 1\nb c%%00\n\nobject 2\nab\nend 1 1 0\n' >"$corpus/export/frame"
[ "$(du -bs "$corpus" | cut -f 1)" -lt 200000 ] || { echo "the corpus has grown beyond 200 kB" >&2; exit 1; }
