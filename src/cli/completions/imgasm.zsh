# What is only known now, and else what is said above.
functions[_imgasm_fixed]=$functions[_imgasm]
_imgasm() {
    local program=${(Q)words[1]/#\~\//$HOME/}
    local said
    if ! said=$($program complete -- "${(@Q)words[1,CURRENT]/#\~\//$HOME/}" 2>/dev/null); then
        _imgasm_fixed "$@"
        return
    fi
    local -a found=(${(f)said})
    local -a open=(${(M)found:#*[=/]}) closed=(${found:#*[=/]})
    (( ! $#open )) || compadd -S '' -- $open
    (( ! $#closed )) || compadd -- $closed
}
