#!/usr/bin/env bash
# Completion, by the shells themselves; and that each verb and option is in it.
# ctest: timeout=120
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_verbs.sh"
on_lrufs || skip "is about the program itself"
need python3

mkdir -p "$WORK/here/a folder" "$WORK/bin"
touch "$WORK/here/cache.lrufs" "$WORK/here/a file"
ln -s "$LRUFS" "$WORK/bin/lrufs"
PATH=$WORK/bin:$PATH
refuse_with 2 "tcsh;bash, zsh or fish" completion tcsh
for shell in bash zsh fish; do say completion "$shell" > "$WORK/lrufs.$shell"; done
verbs=$("$LRUFS" --help | sed -nE 's/^  ([a-z]+) {2,}.*/\1/p')
[[ $(wc -l <<< "$verbs") -ge 12 ]] || fail "no verbs found in the help: $verbs"

step bash
# complete_bash WORD...: what bash would offer for the last word.
complete_bash() {
  (cd "$WORK/here" && timeout 20 bash --norc -c '
    source "$1"; shift
    COMP_WORDS=("$@") COMP_CWORD=$(( $# - 1 ))
    complete -p lrufs | grep -q -- "-F _lrufs" || exit 1
    _lrufs 2> >(grep -v "compopt: not currently" >&2)
    printf "%s\n" "${COMPREPLY[@]}"' bash "$WORK/lrufs.bash" lrufs "$@" | LC_ALL=C sort)
}
expect_eq "verbs" "$(LC_ALL=C sort <<< "$verbs")" "$(complete_bash '')"
expect_eq "verbs that begin with um" umount "$(complete_bash um)"
expect_words "options of the program" "$(complete_bash --)" --help --version
for verb in $verbs; do
  offered=$(complete_bash "$verb" --)
  for option in $("$LRUFS" "$verb" --help | sed -nE 's/^  (-[a-zA-Z],)?(--[a-z-]+).*/\2/p'); do
    grep -qxF -- "$option" <<< "$offered" || fail "bash does not offer $option of $verb: $offered"
  done
done
expect_eq "values of --sync" $'always\nunmount' "$(complete_bash mount --sync '')"
expect_eq "values of --sync=" always "$(complete_bash mount --sync = a)"
expect_eq "no names for --size" "" "$(complete_bash mount --size '')"
expect_eq "names of stores" $'a file\na folder\ncache.lrufs' "$(complete_bash mount '')"
expect_eq "names of folders" 'a folder' "$(complete_bash mount --size 10G cache.lrufs '')"
expect_eq "no names for keys" "" "$(complete_bash get cache.lrufs '')"
expect_eq "names of files to put" $'a file\na folder' "$(complete_bash put cache.lrufs key a)"
expect_eq "names for -o of get" $'a file\na folder' "$(complete_bash get -o a)"
expect_eq "shells" zsh "$(complete_bash completion z)"
expect_eq "after --" "" "$(complete_bash get -- cache.lrufs -)"

if command -v zsh > /dev/null; then
  step zsh
  # A shell on a terminal of its own; TAB, and what it has made of the line (^X^P prints that).
  complete_zsh() {
    (cd "$WORK/here" && timeout 60 python3 - "$WORK/lrufs.zsh" "$1" << 'END'
import os, pty, re, select, sys, time
script, line = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", PS1="READY> ")
    os.execvp("zsh", ["zsh", "-f", "-i"])
seen = b""
def wait_for(pattern, seconds=30):
    global seen
    end = time.monotonic() + seconds
    while not re.search(pattern, seen):
        if time.monotonic() > end or not select.select([fd], [], [], end - time.monotonic())[0]:
            sys.exit(f"zsh does not say {pattern}: {seen}")
        seen += os.read(fd, 65536)
    found = re.search(pattern, seen)
    seen = seen[found.end():]
    return found
wait_for(rb"READY> ")
setup = ("unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit; compinit -u -D; source %s; "
         "show() { print -r -- \"<<$BUFFER>>\"; zle reset-prompt }; zle -N show; bindkey '^Xp' show; "
         "setopt no_list_beep; print SET UP NOW\n" % script)
os.write(fd, setup.encode())
wait_for(rb"\nSET UP NOW"); wait_for(rb"READY> ")
os.write(fd, line.encode() + b"\t\x18p")
print(wait_for(rb"<<(.*?)>>")[1].decode().strip())
os.write(fd, b"\x15exit\n")
END
    )
  }
  expect_eq "a verb in zsh" "lrufs umount" "$(complete_zsh 'lrufs umo')"
  expect_eq "an option in zsh" "lrufs mount --recency=" "$(complete_zsh 'lrufs mount --rec')"
  expect_eq "a file in zsh" "lrufs get cache.lrufs" "$(complete_zsh 'lrufs get ca')"
  expect_eq "a value in zsh" "lrufs mount --sync unmount" "$(complete_zsh 'lrufs mount --sync u')"
else
  echo "   left out: no zsh"
fi

if command -v fish > /dev/null; then
  step fish
  complete_fish() {
    (cd "$WORK/here" && HOME=$WORK run 60 fish --no-config -c \
      "source '$WORK/lrufs.fish'; complete -C '$1'" | cut -f 1 | LC_ALL=C sort)
  }
  expect_eq "verbs in fish" "$(LC_ALL=C sort <<< "$verbs")" "$(complete_fish 'lrufs ')"
  expect_eq "an option in fish" "--recency" "$(complete_fish 'lrufs mount --rec' | tr -d =)"
  expect_words "a file in fish" "$(complete_fish 'lrufs get ca')" cache.lrufs
  expect_eq "values in fish" $'always\nunmount' "$(complete_fish 'lrufs mount --sync ')"
else
  echo "   left out: no fish"
fi
step "passed"
