# shellcheck shell=bash
# Shared by the tests of verbs: after _lib.sh.
# expect_status STATUS ARGUMENTS...: lrufs with these; what it says is in $WORK/out and $WORK/err.
expect_status() {
  local expected=$1 status=0
  shift
  run 60 "$LRUFS" "$@" > "$WORK/out" 2> "$WORK/err" < /dev/null || status=$?
  (( status == expected )) || fail "lrufs $*: expected exit status $expected, saw $status: $(cat "$WORK/err")"
}
# refuse WORDS ARGUMENTS...: exit status 1, and a message with all of WORDS (regular expressions, with ';' between).
refuse() { refuse_with 1 "$@"; }
refuse_with() {
  local status=$1 words=$2 word
  shift 2
  expect_status "$status" "$@"
  [[ $(head -n 1 "$WORK/err") == lrufs:\ * ]] || fail "lrufs $*: expected a message, saw: $(cat "$WORK/err")"
  while IFS= read -r -d ';' word; do
    grep -qiE -- "$word" "$WORK/err" || fail "lrufs $*: expected '$word' in the message: $(cat "$WORK/err")"
  done <<< "$words;"
}
# say ARGUMENTS...: what lrufs prints; must succeed.
say() {
  expect_status 0 "$@"
  cat "$WORK/out"
}
expect_words() {  # expect_words WHAT TEXT WORD...
  local what=$1 text=$2 word
  shift 2
  for word; do grep -qF -- "$word" <<< "$text" || fail "$what: expected '$word' in: $text"; done
}
# json EXPRESSION: of the JSON on stdin (one value, or one a line: `lines`), by Python.
json() {
  python3 -c 'import json, sys
text = sys.stdin.read()
lines = [json.loads(line) for line in text.splitlines()] if "lines" in sys.argv[1] else None
it = None if lines is not None else json.loads(text)
print(eval(sys.argv[1]))' "$1"
}
# on_both FUNCTION: with $T a new store that is not mounted, then one that is mounted, by its mount point, then that
# by its store file. $S is the store file, $M the mount point, if there is one, and $KIND says which it is.
on_both() {
  local kind
  for kind in store mount mounted_store; do
    S=$WORK/$1.$kind.lrufs M= T=$S KIND=$kind
    mount_store "$S" "$WORK/mnt" --size "${SIZE:-64M}"
    if [[ $kind == store ]]; then umount_store "$S" "$WORK/mnt"; else M=$WORK/mnt; fi
    if [[ $kind == mount ]]; then T=$M; fi
    step "$1, $kind"
    "$1"
    check_store "$S" "$WORK/mnt"
    rm -f "$S"
  done
}
