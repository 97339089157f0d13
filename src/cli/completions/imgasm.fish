# What is only known now, and else what is said above.
function __imgasm_now
    set -l words (commandline -opc)
    set -g __imgasm_found ($words[1] complete -- $words (commandline -ct) 2>/dev/null)
end
complete -c imgasm -n __imgasm_now -f -a '$__imgasm_found'
for option in set set-file image profile
    complete -c imgasm -n __imgasm_now -l $option -x -a '$__imgasm_found'
end
