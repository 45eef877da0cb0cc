"""`lorafold completion`: Tab in bash, zsh and fish. A shell's own files are changed only where the user agrees."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorafold.common.errors import LorafoldError

# Each asks `lorafold -sc query=bash` with the line up to the cursor, and adds the names of files.
_BASH = r"""
_lorafold() {
    local line="${COMP_LINE:0:COMP_POINT}" before= name
    local word="${line##*[[:space:]]}"
    COMPREPLY=($(compgen -W "$(COMP_LINE="$line" lorafold -sc query=bash 2>/dev/null)" -- "$word"))
    [[ $COMP_WORDBREAKS == *=* && $word == *=* ]] && before="${word%=*}="
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    while IFS= read -r name; do
        [[ -d $name ]] && name+=/
        COMPREPLY+=("$(printf %q "$name")")
    done < <(compgen -f -- "${word##*=}")
    [[ ${#COMPREPLY[@]} == 1 && $COMPREPLY == *[=./] ]] && compopt -o nospace
}
complete -F _lorafold lorafold
"""
_ZSH = r"""
_lorafold() {
    local -a candidates
    candidates=(${=$(COMP_LINE="${(j: :)words[1,CURRENT]}" lorafold -sc query=bash 2>/dev/null)})
    compadd -S '' -a candidates
    _files
}
compdef _lorafold lorafold
"""
_FISH = r"""
complete -c lorafold -a '(COMP_LINE=(commandline -cp) lorafold -sc query=bash 2>/dev/null | string split " ")'
"""


@dataclass(frozen=True)
class _Shell:
    """What makes a shell complete: its code, and the line that belongs into a file of its user's."""

    code: str
    file: str
    line: str


_SHELLS = {
    "bash": _Shell(_BASH, ".bashrc", 'eval "$(lorafold completion bash)"'),
    "zsh": _Shell(_ZSH, ".zshrc", 'autoload -Uz compinit && compinit && eval "$(lorafold completion zsh)"'),
    "fish": _Shell(_FISH, ".config/fish/config.fish", "lorafold completion fish | source"),
}
_USAGE = f"""\
usage: lorafold completion install [SHELL]  asks, and adds a line to your shell's file
       lorafold completion SHELL            prints the code, for {", ".join(_SHELLS)}"""


def completion(words: Sequence[str]) -> str:
    """What the command answers.

    Raises:
        LorafoldError: a shell that it does not know.
    """
    match list(words):
        case ["install"]:
            return _install(Path(os.environ.get("SHELL", "")).name)
        case ["install", name]:
            return _install(name)
        case [name] if not name.startswith("-"):
            return _known(name).code.strip()
    return _USAGE


def _known(name: str) -> _Shell:
    if name not in _SHELLS:
        remedy = f"Write lorafold completion install SHELL, with one of {', '.join(_SHELLS)}."
        raise LorafoldError(f"no completion for the shell {name!r}", remedy=remedy)
    return _SHELLS[name]


def _install(name: str) -> str:
    shell = _known(name)
    file = Path.home() / shell.file
    if file.is_file() and shell.line in file.read_text(encoding="utf-8").splitlines():
        return f"~/{shell.file} has the line already; open a new shell and press Tab"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return f"add this line to ~/{shell.file}:\n{shell.line}"
    print(f"{shell.line}\nAdd this line to ~/{shell.file}? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        return "nothing was written"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        opened.write(f"\n{shell.line}\n")
    return "added; open a new shell and press Tab"
