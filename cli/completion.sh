#!/usr/bin/env bash
# Prints bash's completion for one of our programs, made from its --help, so that it never says anything else.
#
#   cli/completion.sh build/bin/tmac-run >tmac-run
set -eu
name=$(basename "$1")
help=$("$1" --help)
function=_${name//-/_}
options=$(sed -n 's/^  \(-., \| *\)\(--[a-z0-9-]*\).*/\2/p' <<<"$help" | sort -u | tr '\n' ' ')
# Options with an argument of their own show it in capitals or as alternatives after their name.
with_argument=$(sed -n 's/^  \(-., \| *\)\(--[a-z0-9-]*\) [A-Za-z0-9|.=:,]\{1,\}\($\|  .*\)/\2/p' <<<"$help" | tr '\n' '|')
commands=$(sed -n '/^Commands:/,$s/^  \([a-z][a-z, ]*[a-z]\).*/\1/p' <<<"$help" | sed 's/  .*//' | tr -d ',' | tr '\n' ' ')
arguments='' operands='compgen -f -- "$word"'
[ -z "$with_argument" ] || arguments="
    case \$before in
    ${with_argument%|})
        mapfile -t COMPREPLY < <(compgen -f -- \"\$word\"); return ;;
    esac"
[ -z "$commands" ] || operands="((COMP_CWORD == 1)) && compgen -W \"$commands\" -- \"\$word\"; $operands"
cat <<END
# bash completion for $name, made from its --help
$function()
{
    local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()$arguments
    if [[ \$word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "\$word")
    else
        mapfile -t COMPREPLY < <($operands)
    fi
}
complete -o filenames -F $function $name
END
