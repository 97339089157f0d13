"""Types lines into an interactive shell and prints what the shell makes of each.

completions.py SHELL SCRIPT, lines on standard input. `\\t` in a line is the key. Each line is not run,
but given to `echo` in the end.
"""

import os
import pty
import select
import sys
import time

SHELL, SCRIPT = sys.argv[1:]
COMMANDS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SETUP = {
    "bash": "bind 'set bell-style none'; source {0}; PS1='REA''DY>'",
    "zsh": "autoload -Uz compinit; compinit -D -u; source {0}; unsetopt beep; PS1='REA''DY>'",
    "fish": "source {0}; function fish_prompt; echo -n REA''DY'>'; end",
}
PATIENCE_SECONDS = 60

child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "dumb"
    os.execvp(COMMANDS[SHELL][0], COMMANDS[SHELL])

seen = b""


def wait_for(text, since):
    """Waits until `text` was written after `since` bytes; gives what was."""
    global seen
    end = time.monotonic() + PATIENCE_SECONDS
    while text not in seen[since:]:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        if not ready:
            sys.exit(f"no {text!r} in {seen[since:]!r}")
        seen += os.read(terminal, 65536)
    return seen[since:]


def enter(text):
    os.write(terminal, text.encode())


enter(SETUP[SHELL].format(SCRIPT) + "\r")
wait_for(b"READY>", 0)
for number, line in enumerate(sys.stdin.read().splitlines()):
    since = len(seen)
    mark, done = f"begin{number}.", f"end{number}."
    # Ctrl-A goes to the line's begin and Ctrl-E to its end.
    enter(line.replace("\\t", "\t") + f"\x01echo 'beg''in{number}.' \x05 'en''d{number}.'\r")
    said = wait_for(done.encode(), since).decode(errors="replace")
    print(said.rpartition(mark)[2].rpartition(done)[0].strip())
    sys.stdout.flush()
os.close(terminal)
os.waitpid(child, 0)
