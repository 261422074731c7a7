#!/usr/bin/env bash
# modes: sanitized
# tmac-run --chat through pipes and through a pseudo terminal; sampling options, stop strings, log-probabilities and
# embeddings on a real model.
. tests/e2e/lib.sh.inc
[ -f "$TMAC_DATA/bitllama-3M-i2_s.gguf" ] || { skip "chat" "no data folder at $TMAC_DATA"; exit 0; }
run=$bin/tmac-run model=$TMAC_DATA/bitllama-3M-i2_s.gguf
export XDG_STATE_HOME=$work/state

chat() { "$run" "$model" --chat --template llama2 -t 0 -n 12 "$@" 2>"$work/err"; }

one=$(printf 'Once upon a time\n' | chat -q)
check "an answer" "$([ -n "$one" ] && echo yes)" yes
check "the same message again after /reset" "$(printf 'Once upon a time\n/reset\nOnce upon a time\n' | chat -q)" "$one
$one"
two=$(printf 'Once upon a time\nLily saw a dog\n' | chat -q | tail -n +2)
check "the first message matters to the second" "$([ "$two" != "$(printf 'Lily saw a dog\n' | chat -q)" ] && echo yes)" yes
check "whatever the batch" "$(printf 'Once upon a time\nLily saw a dog\n' | chat -q --batch 3 -j 1 | tail -n +2)" "$two"
check "/retry is greedy, too" "$(printf 'Once upon a time\n/retry\n' | chat -q)" "$one
$one"
check "lines joined by a backslash" "$(printf 'Once upon\\\na time\n' | chat -q)" "$(printf '"""\nOnce upon\na time\n"""\n' | chat -q)"
check "a system message matters" "$([ "$(printf 'Once upon a time\n' | chat -q --system 'Be sad.')" != "$one" ] && echo yes)" yes
check "/system is --system" "$(printf '/system Be sad.\nOnce upon a time\n' | chat -q)" "$(printf 'Once upon a time\n' | chat -q --system 'Be sad.')"
printf '/help\n/nonsense\n' | chat -q >"$work/out"
check "/help and unknown commands" "$(grep -c '/reset\|Unknown command' "$work/err") $(wc -c <"$work/out")" "2 0"

# 200 messages do not fit 512 tokens: the oldest are forgotten, with a word.
for _ in $(seq 40); do echo "Lily and Tom went to the park and saw a big red dog."; done | chat >"$work/out"
check "a full context is shifted" "$? $([ "$(wc -l <"$work/out")" -ge 40 ] && echo yes)" "0 yes"
check "and said to be" "$(grep -c 'oldest .* forgotten' "$work/err" | sed 's/^[1-9][0-9]*$/yes/')" yes
head -c 4000 "$TMAC_DATA/tinyshakespeare.txt" | tr '\n' ' ' | chat >"$work/out"
check "a message beyond the context is refused, in words" "$? $(grep -c "context holds 512: it is left out" "$work/err")" "0 1"

cat >"$work/form.lua" <<'LUA'
-- The same as the built-in llama2, for messages without blanks at their ends.
return function(messages, open)
  local out, system = {}, nil
  for _, m in ipairs(messages) do
    if m.role == "system" then system = m.content
    elseif m.role == "user" then
      out[#out + 1] = "<s>[INST] "
      if system then
        out[#out + 1] = "<<SYS>>\n"; out[#out + 1] = { system }; out[#out + 1] = "\n<</SYS>>\n\n"
        system = nil
      end
      out[#out + 1] = { m.content }
      out[#out + 1] = " [/INST]"
    else
      out[#out + 1] = " "
      out[#out + 1] = { (m.content:gsub("^%s+", ""):gsub("%s+$", "")) }
      out[#out + 1] = " </s>"
    end
  end
  return out
end
LUA
turns='Once upon a time\nLily saw a dog\n'
check "a template in Lua" "$(printf "$turns" | chat -q --system 'Be sad.' --template "$work/form.lua")" "$(printf "$turns" | chat -q --system 'Be sad.')"
refuse() { # name status text command...
    local name=$1 status=$2 text=$3 got
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    check "$name" "$got $(grep -cF -- "$text" "$work/err")" "$status 1"
}
refuse "a model that says nothing of conversations" 2 "give --template" "$run" "$model" --chat
refuse "an unknown template" 1 "neither a form we know" "$run" "$model" --chat --template no-such
echo 'return 5' >"$work/bad.lua"
refuse "a template that is no function" 1 "does not return a function" "$run" "$model" --chat --template "$work/bad.lua"
echo 'while true do end' >"$work/bad.lua"
refuse "a template that does not end" 1 "steps" "$run" "$model" --chat --template "$work/bad.lua"
echo 'return io.open' >"$work/bad.lua"
refuse "a template that reaches outside" 1 "nil value" "$run" "$model" --chat --template "$work/bad.lua"
refuse "chat or embeddings" 2 "exclude each other" "$run" "$model" --chat --embeddings

# A pseudo terminal: editing, Ctrl-C at the prompt, Ctrl-C in an answer, Ctrl-D.
if perl -MIO::Pty -e1 2>/dev/null || command -v script >/dev/null; then
    slow() { sleep 1; printf 'xyz\003'; sleep 0.5; printf 'Lily saw a dig\177\177og\n'; sleep 3; printf '\004'; sleep 1; }
    slow | TERM=dumb script -qec "'$run' '$model' --chat --template llama2 -t 0 -n 12" /dev/null >"$work/out" 2>&1
    expected=$(printf 'Lily saw a dog\n' | chat -q)
    check "at a terminal: Ctrl-C empties the line, backspace edits" "$(tr -d '\r' <"$work/out" | grep -cF -- "$expected")" 1
    check "at a terminal: the history is kept" "$(grep -c dog "$work/state/tmac/chat_history")" 1
else
    skip "chat at a terminal" "no script(1)"
fi
# The signal stops the answer and not the program.
mkfifo "$work/in"
"$run" "$model" --chat --template llama2 -t 1 --logit-bias 2:-inf --logit-bias 13:-inf -q <"$work/in" >"$work/out" 2>"$work/err" &
pid=$!
exec 3>"$work/in"
printf 'Once upon a time\n' >&3
for _ in $(seq 100); do [ -s "$work/out" ] && break; sleep 0.05; done
kill -INT "$pid"
printf '/reset\nLily saw a dog\n' >&3
for _ in $(seq 100); do [ "$(grep -c stopped "$work/out")" -ge 1 ] && break; sleep 0.05; done
sleep 0.3
kill -INT "$pid" 2>/dev/null
exec 3>&-
wait "$pid"
check "Ctrl-C stops an answer and not the program" "$? $(wc -l <"$work/out")" "0 2"

# Sampling.
generate() { "$run" "$model" -q -n 60 -i "Once upon" "$@" 2>"$work/err"; }
text=$(generate -t 0)
check "penalties change the text" "$([ "$(generate -t 0 --repeat-penalty 1.5)" != "$text" ] && echo yes)" yes
check "a penalty of 1 does not" "$(generate -t 0 --repeat-penalty 1 --presence-penalty 0)" "$text"
check "min-p 1 is greedy" "$(generate -t 1 -p 1 --min-p 1)" "$text"
check "typical has a seed like all" "$(generate --typical 0.5 -s 3)" "$(generate --typical 0.5 -s 3 --batch 2 -j 1)"
check "drafts change nothing under penalties" "$(generate -t 0 --repeat-penalty 1.2 --draft 4)" "$(generate -t 0 --repeat-penalty 1.2)"
check "a screened head chooses the same under penalties" "$(generate -t 0 --repeat-penalty 1.2 --head screened)" "$(generate -t 0 --repeat-penalty 1.2)"
check "a stop string ends the text before it" "$(generate -t 0 --stop ' was' --stop 'zzz')" "${text%% was*}"
check "a stop string that does not come" "$(generate -t 0 --stop 'zzz')" "$text"
refuse "a wrong bias" 2 "is not ID:BIAS" "$run" "$model" --logit-bias 5=3
refuse "a bias outside the vocabulary" 2 "token 9999" "$run" "$model" --logit-bias 9999:1
refuse "an impossible min-p" 2 "min-p 2" "$run" "$model" --min-p 2

generate -t 0 --logprobs "$work/log" --alternatives 3 >/dev/null
check "log-probabilities: a line a token, sorted, the greedy choice first" "$(perl -MJSON::PP -ne '
    my $t = decode_json($_); my @top = @{$t->{top}};
    $bad++ if @top != 3 || $top[0]{token} != $t->{token} || $t->{logprob} > 0 || $top[0]{logprob} < $top[1]{logprob} || $top[1]{logprob} < $top[2]{logprob};
    END { print $. > 40 && !$bad ? "yes" : "no: $. lines, $bad bad" }' "$work/log")" yes
check "an embedding has length 1" "$("$run" "$model" --embeddings --json -i "a cat" | perl -MJSON::PP -e '
    my $v = decode_json(<STDIN>); my $s = 0; $s += $_ * $_ for @$v; print @$v == 256 && abs($s - 1) < 1e-6 ? "yes" : "no"')" yes
check "and does not depend on the batch" "$("$run" "$model" --embeddings -i "a cat sat" --batch 1 -j 1)" "$("$run" "$model" --embeddings -i "a cat sat")"
