#!/usr/bin/env bash
# lrufs bench: it measures, prints, and leaves nothing behind, also when it is stopped or fails.
# ctest: timeout=180
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_verbs.sh"
on_lrufs || skip "is about the program itself"
need python3

place=$WORK/place
mkdir "$place"
nothing_left() {
  expect_eq "what is left after $1" "" "$(ls -A "$place")"
  ! grep -qF "$place" /proc/self/mountinfo || fail "a mount is left after $1"
}

step "a table"
out=$(say bench --size 16M "$place")
expect_words "lrufs bench" "$out" "put 4 KiB" "get 4 KiB" "put 1 MiB, full" "evicted, while full" "stat, first" "stat, hot" "create, write 4 KiB"
nothing_left bench

step "JSON, beside a file"
echo kept > "$WORK/file"
out=$(cd "$place" && say bench --json --size 16M --store-only "$WORK/file")
expect_eq "what was measured" "True True True" "$(json '" ".join(map(str, (
  all(r["seconds"] > 0 and r["operations"] > 0 for r in it["results"]),
  {r["on"] for r in it["results"]} == {"store"}, any(r.get("evicted", 0) > 0 for r in it["results"]))))' <<< "$out")"
expect_eq "the file beside" kept "$(cat "$WORK/file")"
! compgen -G "$WORK/.lrufs-bench*" > /dev/null || fail "a folder is left"

step "errors"
refuse_with 2 "--size;tiny" bench --size tiny "$place"
refuse_with 2 "--size;16M" bench --size 1M "$place"
refuse "no such file" bench "$WORK/missing"
if is_root; then
  mkdir "$WORK/small"
  mount -t tmpfs -o size=8M lrufs-test "$WORK/small"
  refuse "space" bench --size 64M --store-only "$WORK/small"
  expect_eq "what is left on a full disk" "" "$(ls -A "$WORK/small")"
  umount "$WORK/small"
fi

step "stopped"
began() { compgen -G "$place/.lrufs-bench*/$1" > /dev/null; }
is_it_mounted() { grep -qF "$place" /proc/self/mountinfo; }
for when in "began store.lrufs" is_it_mounted; do
  python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$LRUFS" bench --size 64M "$place" > "$WORK/out" 2> "$WORK/err" &
  pid=$!
  # shellcheck disable=SC2086  # a command with an argument
  wait_for "$when" 60 $when
  kill -INT "$pid"
  status=0
  wait "$pid" || status=$?
  expect_eq "exit status after SIGINT ($when): $(cat "$WORK/err")" 130 "$status"
  nothing_left "SIGINT ($when)"
done
step "passed"
