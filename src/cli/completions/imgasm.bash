# What is only known now, and else what is said above.
_imgasm_now() {
    local rest=${COMP_LINE:0:COMP_POINT} trimmed word i found
    local -a words=()
    # Bash also splits words at `=` and `:`; they are put together again.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        ((i < COMP_CWORD)) || word=$trimmed
        if ((i > 0)) && [[ $trimmed == "$rest" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("${word/#\~\//$HOME/}")
        fi
        rest=${trimmed#"$word"}
    done
    # What is before the last of those characters is left to the line.
    word=${words[${#words[@]} - 1]}
    trimmed=
    [[ $word != *[=:]* || $COMP_WORDBREAKS != *[=:]* ]] || trimmed=${word%"${word##*[=:]}"}
    if ! found=$("${1/#\~\//$HOME/}" complete --raw -- "${words[@]}" 2>/dev/null); then
        _imgasm "$@"
        return
    fi
    # No file of this machine can stand there.
    compopt +o bashdefault +o default 2>/dev/null
    COMPREPLY=()
    while IFS= read -r word; do
        [[ -z $word ]] || printf -v COMPREPLY[${#COMPREPLY[@]}] %q "${word#"$trimmed"}"
    done <<<"$found"
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

if [[ ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 || ${BASH_VERSINFO[0]} -gt 4 ]]; then
    complete -F _imgasm_now -o nosort -o bashdefault -o default imgasm
else
    complete -F _imgasm_now -o bashdefault -o default imgasm
fi
