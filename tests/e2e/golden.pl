# Walks golden.json: see golden.sh. Perl and its JSON::PP come with Debian's build-essential.
use strict;
use warnings;
use JSON::PP;

my ($bin, $work, $data) = @ENV{qw(bin work TMAC_DATA)};
open my $file, '<', "$data/golden.json" or die "golden.json: $!";
my $golden = JSON::PP->new->utf8->decode(do { local $/; <$file> });

sub result { print $_[0] ? 'ok' : 'not ok', " - $_[1]\n" }

# Runs a program without a shell; returns its standard output and exit status.
sub output {
    my @command = @_;
    my $pid = open my $pipe, '-|';
    if (!$pid) {
        open STDERR, '>', "$work/stderr";
        exec @command or exit 127;
    }
    my $text = do { local $/; <$pipe> };
    close $pipe;
    return ($text // '', $? >> 8);
}

# Every file of each model: name, path, options; then what they become as TM2.
my %sources = (
    'bitllama-3M' => [
        ['msb', "$data/bitllama-3M-msb.bin", '--bit-order', 'msb'],
        ['lsb', "$data/bitllama-3M-lsb.bin", '--bit-order', 'lsb'],
        (map { [$_, "$data/bitllama-3M-$_.gguf"] } qw(f32 tq2_0 i2_s)),
        ['hf', "$data/hf-bitllama-3M"]
    ],
    'stories260K' => [['v0', "$data/stories260K.bin"]],
);
my %files;
for my $model (sort keys %sources) {
    for my $source (@{ $sources{$model} }) {
        my ($name, $path, @options) = @$source;
        push @{ $files{$model} }, [$name, 0, $path, @options];
        for my $strict (0, 1) {
            my $to = "$work/$model-$name" . ($strict ? '-strict' : '') . '.tm2';
            my (undef, $status) = output("$bin/tmac-convert", $path, $to, @options,
                '--tokenizer', "$data/tok512.bin", $strict ? '--strict' : ());
            result($status == 0, "$model $name converts to " . ($strict ? 'strict ' : '') . 'TM2');
            push @{ $files{$model} }, ["$name as " . ($strict ? 'strict ' : '') . 'TM2', $strict, $to];
        }
    }
}

my $n = 0;
for my $case (@{ $golden->{texts} }) {
    my $want = $case->{text};
    utf8::encode($want);
    for my $f (@{ $files{ $case->{model} } }) {
        my ($name, $strict, @file) = @$f;
        next if $strict && $case->{model} eq 'bitllama-3M'; # f16 scales: judged by likelihood below
        my ($text, $status) = output("$bin/tmac-run", @file, '-z', "$data/$case->{tokenizer}",
            '-t', 0, '-n', $case->{n}, length $case->{prompt} ? ('-i', $case->{prompt}) : ());
        result($status == 0 && substr($text, 0, length $want) eq $want,
            "text of $case->{model} ($name) from '$case->{prompt}'");
    }
}
for my $case (@{ $golden->{nll} }) {
    $n++;
    open my $out, '>:utf8', "$work/text" or die $!;
    print $out $case->{text};
    close $out;
    for my $f (@{ $files{ $case->{model} } }) {
        my ($name, $strict, @file) = @$f;
        for my $kv ('f32', 'f16') {
            my ($json) = output("$bin/tmac-eval", 'nll', @file, '-z', "$data/$case->{tokenizer}",
                '-f', "$work/text", '--kv', $kv, '--json');
            my $got = eval { decode_json($json) } // {};
            my $tolerance = $kv eq 'f32' ? $case->{tolerance} : $case->{tolerance_kv16};
            # A scale rounded to f16 is off by at most 2^-11; the likelihood moved by under 0.01 nats when measured.
            $tolerance += 0.01 if $strict && $case->{model} eq 'bitllama-3M';
            result(($got->{tokens} // 0) == $case->{tokens} && abs($got->{nll} - $case->{nll}) <= $tolerance,
                "likelihood $n of $case->{model} ($name), KV cache $kv");
        }
    }
}
