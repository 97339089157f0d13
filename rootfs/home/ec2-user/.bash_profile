[ -r ~/.bashrc ] && . ~/.bashrc
PATH=$PATH:$HOME/bin
export PATH
