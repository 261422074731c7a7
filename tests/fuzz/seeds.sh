#!/usr/bin/env bash
# Writes tests/fuzz/corpus anew: the smallest files of every kind, made by our own programs, or here byte by byte where
# no program of ours writes the kind. For `make fuzz-corpus`.
set -eu
bin=$BUILD/bin
corpus=tests/fuzz/corpus
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$corpus"
mkdir -p "$corpus"/{tm2,gguf,llama2c,bitllama,edge,folder,safetensors,vocabulary,sentencepiece,tokenizer_json,text,export}
synth() { "$bin/tmac-synth" --shape "$1" "$2"; }
convert() { "$bin/tmac-convert" "$@" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }; }

# Models of our own: TM2 with its extension, strict TM2, GGUF in every type, folders.
tiny=dim=8,hidden=8,layers=1,heads=2,vocab=6,context=8
larger=dim=16,hidden=24,layers=1,heads=2,vocab=6,context=8 # whole blocks of I2_S
synth $tiny "$corpus/tm2/ternary"
synth $tiny,bitnet=0,tied=0,bias=1,head_norms=1,rank=2,rope=llama3 "$corpus/tm2/extras"
synth $tiny,weights=q4,group=8 "$corpus/tm2/q4"
synth $tiny,bitnet=0,bf16=0 "$work/plain.tm2"
convert --strict "$work/plain.tm2" "$corpus/tm2/strict"
for type in f32 f16 bf16; do convert "$corpus/tm2/ternary" "$corpus/gguf/$type" --to gguf --type $type; done
synth $larger "$work/larger.tm2"
convert "$work/larger.tm2" "$corpus/gguf/i2_s" --to gguf --type i2_s
convert "$corpus/tm2/extras" "$corpus/gguf/extras" --to gguf --type f16

# A vocabulary of words and merges in either.
printf '{"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel"},"added_tokens":[{"id":3,"content":"<s>","special":true}],%s}' \
    '"model":{"type":"BPE","vocab":{"T":0,"h":1,"Th":2},"merges":["T h"]}' >"$work/words.json"
convert "$corpus/tm2/ternary" "$corpus/tm2/words" --tokenizer "$work/words.json"
convert "$corpus/tm2/ternary" "$corpus/gguf/words" --to gguf --type f16 --tokenizer "$work/words.json"

for kind in ternary extras; do
    shape=$tiny
    [ $kind = ternary ] || shape=$tiny,bitnet=0,tied=0,bias=1,head_norms=1
    "$bin/tmac-synth" --huggingface --shape "$shape" "$work/$kind"
    perl -e 'local $/; sub text { open my $f, "<:raw", "$ARGV[0]/$_[0]"; <$f> } sub save { open my $f, ">:raw", "$ARGV[1]/$_[0]"; print $f $_[1] }
             my ($c, $w) = (text("config.json"), text("model.safetensors")); my $header = unpack "Q<", $w;
             my $index = join ",", map { "\"$_\":\"a.safetensors\"" } substr($w, 8, $header) =~ /"([a-z][a-z_0-9.]+)":\{/g;
             my $json = q({"added_tokens":[{"id":3,"content":"<s>","special":true}],"pre_tokenizer":{"type":"ByteLevel"},).
                 q("model":{"type":"BPE","vocab":{"T":0,"h":1,"Th":2},"merges":["T h"]}});
             my $names = q({"bos_token":"<s>","eos_token":{"content":"Th"},"add_bos_token":true,"chat_template":[{"name":"default","template":"<|im_start|>"}]});
             my $ids = q({"bos_token_id":3,"eos_token_id":[2,3]});
             save("folder/$ARGV[2]", join "\0", $c, $json, $names, $ids, "<|start_header_id|>", "", substr $w, 8, $header);
             save("folder/$ARGV[2]-bare", join "\0", $c, ("") x 5, substr($w, 8, $header), substr $w, 8 + $header);
             save("folder/$ARGV[2]-index", join "\0", $c, $json, $names, $ids, "", qq({"weight_map":{$index}}), substr($w, 8, $header), substr $w, 8 + $header);
             save("folder/$ARGV[2]-no-shards", join "\0", $c, ("") x 4, q({"weight_map":{}}));
             save("safetensors/$ARGV[2]", chr($ARGV[2] eq "extras") . $w)' "$work/$kind" "$corpus" $kind
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

# TM2 as its oldest writers made it: a ternary embedding and no extension, in TM2's order and in BitNet's.
sub numbers { "\0" . floats($_[0], $_[1]) }
sub rows { my ($rows, $columns) = @_; "\1" . pack('l<2', $rows, $columns) . join '', map { pack('v', 0x3800) . codes($columns / 4, [0x1d, 0xc4, 0x37]) } 1 .. $rows }
my @heads = (rows($dim, $dim), rows($dim / 2, $dim), rows($dim / 2, $dim), rows($dim, $dim));
sub rope { my ($function) = @_; "\0" . pack 'f<*', map { my $at = $_; map { $function->($at * 10000 ** (-$_ / 4)) } 0 .. 3 } 0 .. $context - 1 }
save('tm2/body', "TM2\0", fields($vocab), rows($vocab, $dim), numbers($dim, 1), @heads, numbers($dim, 1), rows($hidden, $dim), rows($dim, $hidden),
    rows($hidden, $dim), numbers($dim, 1), rope(sub { cos $_[0] }), rope(sub { sin $_[0] }));
save('tm2/bitnet', "TM2\0", fields($vocab), rows($vocab, $dim), numbers($dim, 1), @heads, numbers($dim, 1), numbers($dim, 1), rows($hidden, $dim),
    rows($hidden, $dim), rows($dim, $hidden), numbers($hidden, 1), numbers($dim, 1), rows($vocab, $dim));

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

# GGUF in the types that only other programs write: projections in blocks, all else in floats. Heads of two rows.
my %kinds = (F32 => [0, 1, 4], F16 => [1, 1, 2], Q4_0 => [2, 32, 18], Q8_0 => [8, 32, 34], Q4_K => [12, 256, 144], Q6_K => [14, 256, 210],
    TQ1_0 => [34, 256, 54], TQ2_0 => [35, 256, 66], Q2_0 => [42, 64, 18], PQ2_0 => [42, 128, 34], IQ1_BN => [134, 64, 13, 2],
    IQ2_BN => [135, 64, 16, 4], IQ2_BN_R4 => [335, 64, 16, 4]);
sub string { pack('Q<', length $_[0]) . $_[0] }
sub gguf {
    my ($name, $wide, $rows, %types) = @_; # rows: of heads and the feed-forward net
    my %numbers = (block_count => 1, embedding_length => $wide, feed_forward_length => $rows, context_length => 8, vocab_size => 2,
        'attention.head_count' => $rows / 2, 'attention.head_count_kv' => $rows / 2, 'attention.key_length' => 2, 'rope.dimension_count' => 2);
    my $values = string('general.architecture') . pack('L<', 8) . string('llama') . string('llama.attention.layer_norm_rms_epsilon') . pack('L<f<', 6, 1e-5) .
        join '', map { string("llama.$_") . pack('L<L<', 4, $numbers{$_}) } sort keys %numbers;
    my @tensors = (['token_embd', 'F16', $wide, 2], (map { [$_, 'F16', $wide] } qw(output_norm blk.0.attn_norm blk.0.ffn_norm)),
        (map { ["blk.0.$_", $types{$_}, $wide, $rows] } qw(attn_q attn_k attn_v ffn_gate ffn_up)), map { ["blk.0.$_", 'F16', $rows, $wide] } qw(attn_output ffn_down));
    my ($infos, $data) = ('', '');
    for (@tensors) {
        my ($tensor, $type, @extents) = @$_;
        my ($number, $block, $bytes, $row) = @{$kinds{$type}};
        my $count = $extents[1] // 1;
        $infos .= string("$tensor.weight") . pack('L<Q<*', scalar @extents, @extents) . pack('L<Q<', $number, length $data);
        # 0x55 is the code 1, of the weight 0, in every two-bit type, and no odd float.
        $data .= ("\x55" x ($row // 0) . "\x55" x ($extents[0] / $block * $bytes)) x $count;
        $data .= "\0" x (-length($data) % 32);
    }
    my $head = 'GGUF' . pack('L<Q<Q<', 3, scalar @tensors, 2 + keys %numbers) . $values . $infos;
    save("gguf/$name", $head, "\0" x (-length($head) % 32), $data);
}
gguf('blocks-256', 256, 2, attn_q => 'TQ1_0', attn_k => 'TQ2_0', attn_v => 'TQ1_0', ffn_gate => 'TQ2_0', ffn_up => 'TQ2_0');
gguf('blocks-64', 64, 4, attn_q => 'IQ1_BN', attn_k => 'IQ2_BN', attn_v => 'IQ2_BN_R4', ffn_gate => 'Q4_0', ffn_up => 'Q2_0');
gguf('blocks-128', 128, 16, attn_q => 'PQ2_0', attn_k => 'PQ2_0', attn_v => 'PQ2_0', ffn_gate => 'Q8_0', ffn_up => 'Q8_0');
gguf('k-quants', 256, 2, attn_q => 'Q6_K', attn_k => 'Q4_K', attn_v => 'Q4_K', ffn_gate => 'Q6_K', ffn_up => 'Q6_K');

# Texts: a byte that chooses the vocabulary, then what vocabularies differ over.
my $text = "The wind's  12345, caf\xc3\xa9 e\xcc\x81\xcc\xa3\xe1\x84\x80\xe1\x85\xa1\r\n\t<s>12<user>\xff\xf0\x9d\x85\xa0 \xe2\x82\xac...\$+ aaaaa";
save("text/$_", chr($_), $text) for 0 .. 7;
save('text/markup', chr(0x80), $text, "<|eot_id|> the<|eot|");

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
[ "$(du -bs "$corpus" | cut -f 1)" -lt 300000 ] || { echo "the corpus has grown beyond 300 kB" >&2; exit 1; }
