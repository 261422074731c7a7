#!/usr/bin/env bash
# modes: sanitized
# What is recognised and refused, with the whole line that a user sees: weight types that a file does not describe, bytes
# that can be read in two ways, targets that would make another model, and names that we do not know or that lead outside.
# Every file is a good one of our own with the fewest bytes changed.
. tests/e2e/lib.sh.inc
out=$work/out

# name status message command...: that message is all that is said, and no output is left. IN stands for $work.
refuse() {
    local name=$1 status=$2 message=${3//IN/$work} got
    shift 3
    "$@" >"$work/stdout" 2>"$work/err"
    got=$?
    if [ "$got" != "$status" ]; then fail "$name" "status $got: $(cat "$work/err")"
    elif [ "$(cat "$work/err")" != "$message" ]; then fail "$name" "expected: $message
     got: $(cat "$work/err")"
    elif compgen -G "$out*" >/dev/null; then fail "$name" "an output file is left"; rm -rf "$out"*
    else pass "$name"; fi
}
convert() { "$bin/tmac-convert" "$@" 2>"$work/err" || fail "convert $*" "$(cat "$work/err")"; }
shape=dim=32,hidden=4,layers=1,heads=2,vocab=300,context=16,bf16=1
"$bin/tmac-synth" --shape $shape "$work/good.tm2"

# ------------------------------------------------------------------------------------------------------------------ GGUF
convert "$work/good.tm2" "$work/good.gguf" --to gguf --type f16

# columns rows type: good.gguf with another kind of weights in blk.0.ffn_up, whose 256 bytes stay. Behind a tensor's name
# are: u32 dimensions, u64 columns, u64 rows, u32 type.
retype() {
    perl -e 'my ($columns, $rows, $type) = @ARGV; local $/; binmode STDIN; binmode STDOUT; $_ = <STDIN>;
        my $at = index $_, "blk.0.ffn_up.weight"; $at > 0 or die; substr $_, $at + 23, 20, pack "Q<Q<L<", $columns, $rows, $type;
        print' "$@" <"$work/good.gguf" >"$work/bad.gguf" || fail "retype $*"
}
# from to file: the file with its first `from` replaced by `to`, of the same length.
respell() {
    perl -e 'my ($from, $to) = @ARGV; local $/; binmode STDIN; binmode STDOUT; $_ = <STDIN>;
        my $at = index $_, $from; $at > 0 && length $from == length $to or die; substr $_, $at, length $to, $to;
        print' "$1" "$2" <"$work/$3" >"$work/bad.gguf" || fail "respell $*"
}
unstored="its packing follows a kernel_config.ini of the program that wrote it, which the file does not hold: convert the model's original instead"
while IFS=';' read -r name columns rows type reason; do
    retype "$columns" "$rows" "$type"
    refuse "$name" 1 "tmac-convert: IN/bad.gguf: $reason" "$bin/tmac-convert" "$work/bad.gguf" "$out"
    refuse "$name, in tmac-run" 1 "tmac-run: IN/bad.gguf: $reason" "$bin/tmac-run" "$work/bad.gguf" -n 1
done <<END
TL1;32;4;38;tensor blk.0.ffn_up.weight has type TL1, which is not read: $unstored
type 39 of another size than MXFP4: TL2;32;4;39;tensor blk.0.ffn_up.weight has type TL2, which is not read: $unstored
type 39 of the size of MXFP4;32;15;39;tensor blk.0.ffn_up.weight has type 39, by its size MXFP4 (4-bit floats; bitnet.cpp's TL2 has the same number), which is not supported
PTQ1_0;32;4;143;tensor blk.0.ffn_up.weight has type PTQ1_0, which is not read: models of this type expect their activations to be put through a Hadamard transform, which the file does not describe
a type that llama.cpp has and we do not;32;4;10;tensor blk.0.ffn_up.weight has type 10 (Q2_K), which is not supported; F32, F16, BF16, Q4_0, Q8_0, Q4_K, Q6_K, TQ1_0, TQ2_0, I2_S, IQ1_BN, IQ2_BN, IQ2_BN_R4, Q2_0 and PQ2_0 are
a type that nobody has;32;4;777;tensor blk.0.ffn_up.weight has type 777 (unknown), which is not supported; F32, F16, BF16, Q4_0, Q8_0, Q4_K, Q6_K, TQ1_0, TQ2_0, I2_S, IQ1_BN, IQ2_BN, IQ2_BN_R4, Q2_0 and PQ2_0 are
Q2_0 that fits both of its forms;128;7;42;its Q2_0 tensors fit both of the two forms this number stands for (groups of 64 and of 128): refused rather than guessed
Q2_0 that fits neither of its forms;128;3;42;its Q2_0 tensors fit neither of the two forms this number stands for (groups of 64 and of 128): refused rather than guessed
END

# Time that grows with the square of the number of tensors would be minutes here.
perl -e 'my $count = 400_000; print "GGUF", pack("L<Q<Q<", 3, $count, 0), map { pack "Q<a6L<Q<L<Q<", 6, sprintf("%06d", $_), 1, 64, 42, 0 } 1 .. $count' \
    >"$work/bad.gguf"
refuse "hundreds of thousands of tensors of type Q2_0" 1 \
    "tmac-convert: IN/bad.gguf: its Q2_0 tensors fit neither of the two forms this number stands for (groups of 64 and of 128): refused rather than guessed" \
    timeout 25 "$bin/tmac-convert" "$work/bad.gguf" "$out"
rm "$work/bad.gguf"

"$bin/tmac-synth" --shape $shape,rank=2 "$work/ranks.tm2"
convert "$work/ranks.tm2" "$work/ranks.gguf" --to gguf --type f16
while IFS=';' read -r name file from to reason; do
    respell "$from" "$to" "$file"
    refuse "$name" 1 "tmac-convert: IN/bad.gguf: $reason" "$bin/tmac-convert" "$work/bad.gguf" "$out"
done <<END
GGUF: an unknown architecture;good.gguf;bitnet-b1.58;stablelm-1.6;architecture stablelm-1.6 is not supported; llama, bitnet, bitnet-25, bitnet-b1.58, qwen2 and qwen3 are
GGUF: a sub-norm under another name;good.gguf;blk.0.attn_sub_norm;blk.0.attn_sub_mean;tensor blk.0.attn_sub_norm.weight is missing
GGUF: half a low-rank correction;ranks.gguf;blk.0.attn_k.lrc_u;blk.0.attn_k.lrc_x;blk.0.attn_k has one of lrc_u and lrc_v without the other
END

# Such a model runs with another file's vocabulary, so that its conversion is no failure; but a word is said.
printf '{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}' >"$work/words.json"
convert "$work/good.tm2" "$work/words.gguf" --to gguf --type f16 --tokenizer "$work/words.json"
check "a vocabulary that we know needs no word" "$(grep -v 'known to bitnet.cpp' "$work/err")" ""
while IFS=';' read -r name from to reason; do
    respell "$from" "$to" words.gguf
    refuse "GGUF: $name, in tmac-run" 2 "tmac-run: IN/bad.gguf: $reason; give another with -z FILE" "$bin/tmac-run" "$work/bad.gguf" -n 1
    refuse "GGUF: $name, in tmac-tokenize" 1 "tmac-tokenize: IN/bad.gguf: $reason" "$bin/tmac-tokenize" "$work/bad.gguf" --ids
    "$bin/tmac-convert" "$work/bad.gguf" "$work/silent.tm2" 2>"$work/err"
    check "GGUF: $name, in tmac-convert" "$? $(cat "$work/err")" \
        "0 tmac-convert: warning: $work/bad.gguf: $reason; written without a vocabulary: give one with --tokenizer FILE, now or wherever the model runs"
done <<END
words cut in an unknown way;gpt-2;gpt-x;tokenizer.ggml.pre is 'gpt-x': we know llama-bpe, smaug-bpe, llama3, llama-v3, falcon3, qwen2, gpt-2, falcon; a tokenizer.json says how words are cut
an unknown kind of vocabulary;gpt2;bert;tokenizer.ggml.model is 'bert': only llama (sentencepiece) and gpt2 (byte-level BPE) are supported
END

# ---------------------------------------------------------------------------------------------------- other containers
container="the other TMAC container (version 2 with named tensors, written by quantize_bitnet.py), which is not supported: convert the original"
perl -e 'print "TMAC", pack "L<9", 2, 64, 2, 4, 300, 2, 4, 0, 0' >"$work/other.tmac"
refuse "the other TMAC container" 1 "tmac-convert: IN/other.tmac: $container" "$bin/tmac-convert" "$work/other.tmac" "$out"
refuse "the other TMAC container, in tmac-info" 1 "tmac-info: IN/other.tmac: $container" "$bin/tmac-info" "$work/other.tmac"

# ------------------------------------------------------------------------------------------------- Hugging Face folders
folder=$work/folder
"$bin/tmac-synth" --shape $shape --huggingface "$folder"
cp -r "$folder" "$work/kept"
packed=model.layers.0.self_attn.k_proj.weight

# byte: every byte of that packed tensor becomes this one.
fill() {
    perl -e 'my ($name, $byte) = @ARGV; local $/; binmode STDIN; binmode STDOUT; $_ = <STDIN>;
        my $data = 8 + unpack "Q<", $_;
        /"\Q$name\E":\{"dtype":"U8","shape":\[[0-9,]+\],"data_offsets":\[(\d+),(\d+)\]/ or die;
        substr $_, $data + $1, $2 - $1, chr($byte) x ($2 - $1);
        print' $packed "$1" <"$work/kept/model.safetensors" >"$folder/model.safetensors" || fail "fill $1"
}
fill 15
refuse "base-3 digits without --base3" 1 "tmac-convert: IN/folder: tensor $packed holds base-3 digits, whose order the file does not say: give --base3 rows (digit i of a byte belongs to row r + i * rows / 4) or --base3 flat (to the i-th of four weights in a row)" "$bin/tmac-convert" "$folder" "$out"
"$bin/tmac-convert" "$folder" "$work/taken" --base3 rows -z "$work/good.tm2" 2>"$work/err"
check "base-3 digits among packed tensors, with --base3" "$?$(cat "$work/err")" "0"
fill 0
refuse "packed weights that are both 2-bit fields and base-3 digits" 1 "tmac-convert: IN/folder: tensor $packed can be read as 2-bit fields and as base-3 digits, which differ: give --base3 none for 2-bit fields, or rows or flat for digits in that order" "$bin/tmac-convert" "$folder" "$out"
fill 255
refuse "packed weights that are neither" 1 "tmac-convert: IN/folder: tensor $packed holds a field of 3 and a byte over 80: neither 2-bit fields nor base-3 digits: damaged?" "$bin/tmac-convert" "$folder" "$out"

# expression: the folder's tensors under other names, of the same length.
rename() { perl -pe "BEGIN { binmode STDIN; binmode STDOUT } $1" <"$work/kept/model.safetensors" >"$folder/model.safetensors"; }
rename 's/k_proj.weight_scale/k_proj.weight_scald/'
refuse "packed weights without their scale" 1 "tmac-convert: IN/folder: blk.0.attn_k: packed weights without a weight_scale beside them" "$bin/tmac-convert" "$folder" "$out"
rename 's/(k_proj.weight":\{"dtype":")U8/$1I8/'
refuse "a scale beside weights that are not packed" 1 "tmac-convert: IN/folder: blk.0.attn_k has a weight_scale beside I8 weights" "$bin/tmac-convert" "$folder" "$out"
rename 's/"model.norm.weight"/"model.norm.weigh_"/'
refuse "a tensor that is missing" 1 "tmac-convert: IN/folder: tensor model.norm.weight is missing" "$bin/tmac-convert" "$folder" "$out"
cp "$work/kept/model.safetensors" "$folder"

# expression: the folder's config.json changed.
while IFS=';' read -r name expression reason; do
    perl -pe "$expression" <"$work/kept/config.json" >"$folder/config.json"
    cmp -s "$folder/config.json" "$work/kept/config.json" && fail "$name" "config.json is as it was"
    refuse "$name" 1 "tmac-convert: IN/folder: $reason" "$bin/tmac-convert" "$folder" "$out"
done <<'END'
an unknown architecture;s/"bitnet",$/"mamba",/ if /model_type/;config.json: architecture mamba is not supported; bitnet, llama (Falcon3 and Falcon-E too), qwen2 and qwen3 are
an unknown quantization;s/"bitnet"/"gptq"/ if /quant_method/;config.json: quantization by gptq is not supported; bitnet is
an unknown linear_class;s/autobitlinear/megalinear/;config.json: linear_class megalinear is not supported
an unknown activation;s/relu2/gelu/;config.json: hidden_act gelu is not supported; silu and relu2 are
an unknown RoPE scaling;s/("rope_theta".*)/$1 "rope_scaling":{"rope_type":"longrope","factor":2.0},/;config.json: RoPE scaling longrope is not supported; linear, llama3 and yarn are
attention to a window;s/("rope_theta".*)/$1 "use_sliding_window":true,/;config.json: use_sliding_window: attention to a window is not supported
END
cp "$work/kept/config.json" "$folder"

# What the unknown architecture is told from: a BitNet under llama's name, or without one.
for expression in 's/"bitnet",$/"llama",/ if /model_type/' '$_ = "" if /model_type/'; do
    perl -pe "$expression" <"$work/kept/config.json" >"$folder/config.json"
    convert "$folder" "$work/named.tm2"
    check "the class says BitNet: $expression" "$("$bin/tmac-info" "$work/named.tm2" | sed -n 's/^architecture  *//p')" "bitnet, squared ReLU"
done
cp "$work/kept/config.json" "$folder"

for name in ../kept/model.safetensors /etc/model.safetensors .model.safetensors model.bin; do
    printf '{"weight_map":{"%s":"%s"}}' $packed $name >"$folder/model.safetensors.index.json"
    refuse "an index that names $name" 1 "tmac-convert: IN/folder: the index names no proper file for tensor $packed: '$name' is no *.safetensors file of this folder" "$bin/tmac-convert" "$folder" "$out"
done
rm "$folder"/model.safetensors*
refuse "a folder without weights" 1 "tmac-convert: IN/folder: no model weights (*.safetensors) found" "$bin/tmac-convert" "$folder" "$out"
: >"$folder/pytorch_model.bin"
refuse "a folder with pickled weights" 1 "tmac-convert: IN/folder: no model weights (*.safetensors) found; PyTorch's pickled *.bin files are not read, because loading one can run any program: convert them to safetensors" "$bin/tmac-convert" "$folder" "$out"
cp "$work/kept/model.safetensors" "$folder/model-00001-of-00002.safetensors"
cp "$work/kept/model.safetensors" "$folder/model-00002-of-00002.safetensors"
refuse "two files of weights and no index" 1 "tmac-convert: IN/folder: 2 files *.safetensors but no model.safetensors.index.json" "$bin/tmac-convert" "$folder" "$out"

# ------------------------------------------------------------------------------------------------------------ tokenizers
while IFS=';' read -r name parts reason; do
    printf '{%s,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}' "$parts" >"$work/tokenizer.json"
    refuse "$name" 1 "tmac-convert: IN/tokenizer.json: $reason" "$bin/tmac-convert" "$work/good.tm2" "$out" --tokenizer "$work/tokenizer.json"
done <<'END'
an unknown normalizer;"normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"ByteLevel"};the tokenizer changes a text in a way we do not know (normalizer Lowercase; known is NFC)
an unknown normalizer in a sequence;"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"StripAccents"}]},"pre_tokenizer":{"type":"ByteLevel"};the tokenizer changes a text in a way we do not know (normalizer StripAccents; known is NFC)
an unknown pre_tokenizer;"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"BertPreTokenizer"}]};the tokenizer cuts words in a way we do not know (pre_tokenizer BertPreTokenizer; known are Split, ByteLevel, Punctuation and Digits)
a pre_tokenizer that throws text away;"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"a"},"behavior":"Removed"},{"type":"ByteLevel"}]};the tokenizer cuts words in a way we do not know (pre_tokenizer Split with behavior Removed)
END
printf '{"model":{"type":"Unigram","vocab":[["a",0]]}}' >"$work/tokenizer.json"
refuse "a tokenizer that is not BPE" 1 "tmac-convert: IN/tokenizer.json: as a tokenizer.json, its model is 'Unigram': only BPE is supported" "$bin/tmac-convert" "$work/good.tm2" "$out" --tokenizer "$work/tokenizer.json"
printf '{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":4000000},"merges":["a b"]}}' >"$work/tokenizer.json"
refuse "a tokenizer of three pieces that claims millions" 1 "tmac-convert: IN/tokenizer.json: ids go up to 4000000, but there are only 3 pieces" "$bin/tmac-convert" "$work/good.tm2" "$out" --tokenizer "$work/tokenizer.json"
printf 'Once upon a time there was no vocabulary in this file.' >"$work/story.txt"
refuse "a text as a tokenizer" 1 "tmac-convert: IN/story.txt: no vocabulary we know (tokenizer.json, tokenizer.model, llama2.c tokenizer.bin, GGUF, TM2): as a tokenizer.bin, piece 0 ends at byte 543236218 but the file has 54: truncated download?" "$bin/tmac-convert" "$work/good.tm2" "$out" --tokenizer "$work/story.txt"
"$bin/tmac-synth" --shape dim=16,hidden=16,layers=1,heads=2,vocab=400 "$work/more.tm2"
refuse "the tokenizer of a larger model" 1 "tmac-convert: IN/more.tm2: holds 400 pieces, but the model's vocabulary is 300: the wrong tokenizer" "$bin/tmac-convert" "$work/good.tm2" "$out" --tokenizer "$work/more.tm2"
refuse "the tokenizer of a larger model, in tmac-run" 1 "tmac-run: IN/more.tm2: holds 400 pieces, but the model's vocabulary is 300: the wrong tokenizer" "$bin/tmac-run" "$work/good.tm2" -z "$work/more.tm2" -n 1

# ------------------------------------------------------------------------------- a ternary target for what is not ternary
# A llama2.c model: seven numbers, then the weights (embedding, norms, projections) and the RoPE tables.
perl -e 'my ($dim, $vocab, $context) = (256, 300, 16); binmode STDOUT;
    print pack "l<7", $dim, $dim, 1, 2, 2, $vocab, $context;
    print pack "f<*", map { sin $_ } 1 .. $vocab * $dim + 7 * $dim * $dim + 3 * $dim + $context * $dim / 2' >"$work/float.bin"
for type in i2_s tq1_0 tq2_0; do
    refuse "a model that is not ternary, in $type" 1 "tmac-convert: IN/out: blk.0.attn_q is not ternary: a ternary type would make another model of it; --quantize ternary does that, and the result of rounding an ordinary model is garbage" "$bin/tmac-convert" "$work/float.bin" "$out" --to gguf --type $type
    convert "$work/float.bin" "$work/rounded.gguf" --to gguf --type $type --quantize ternary
    check "--quantize ternary warns of garbage ($type)" "$(grep -c garbage "$work/err")" 1
done
refuse "a model that is not ternary, in TMAC v1" 2 "tmac-convert: --to tmac needs --quantize ternary: the format has no scales and rounds the embedding, so that it holds another model" "$bin/tmac-convert" "$work/float.bin" "$out" --to tmac
convert "$work/float.bin" "$work/kept.tm2"
check "TM2 keeps its floats" "$("$bin/tmac-info" "$work/kept.tm2" -m | grep -c 'blk.*f32')" 7
