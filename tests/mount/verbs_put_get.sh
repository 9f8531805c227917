#!/usr/bin/env bash
# lrufs put and get, on a store that is not mounted and on one that is.
# ctest: timeout=240
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_verbs.sh"
on_lrufs || skip "is about the program itself"
need python3 cmp

in=$WORK/in
mkdir "$in"
for size in 0 1 100 1001 4096 65535 65536 3000001; do head -c "$size" /dev/urandom > "$in/$size"; done
truncate -s 50M "$in/sparse"
echo middle | dd of="$in/sparse" bs=1M seek=20 conv=notrunc status=none

sizes_and_ways() {
  local size
  for size in 0 1 100 1001 4096 65535 65536 3000001 sparse; do
    expect_status 0 put "$T" "by file/$size" "$in/$size"
    "$LRUFS" get "$T" "by file/$size" | cmp - "$in/$size" || fail "get of $size differs"
    "$LRUFS" put "$T" "/by stdin//./$size" < "$in/$size"
    expect_status 0 get -o "$WORK/got" "$T" "by stdin/x/../$size"
    cmp "$WORK/got" "$in/$size" || fail "get -o of $size differs"
  done
  # Holes stay holes on both ways.
  (( $(stat -c %b "$WORK/got") * 512 < 2000000 )) || fail "get -o of a sparse file takes $(stat -c %b "$WORK/got") blocks"
  (( $(say stat --json "$T" "by file/sparse" | json 'it["stored_bytes"]') < 2000000 )) || fail "put filled the holes"
  # Through a pipe, which comes in small pieces; and "-" for both ends.
  head -c 3000001 "$in/3000001" | "$LRUFS" put "$T" piped -
  "$LRUFS" get --output - "$T" piped | cmp - "$in/3000001"
  # In place of what is there: longer, shorter, empty.
  for size in 3000001 100 0 65536; do
    expect_status 0 put "$T" again "$in/$size"
    "$LRUFS" get "$T" again | cmp - "$in/$size" || fail "replaced with $size: differs"
  done
  # A key that ends with a slash is a folder.
  expect_status 0 put "$T" "deep/er/" "$in/100"
  "$LRUFS" get "$T" deep/er/100 | cmp - "$in/100"
  expect_status 0 put "$T" / "$in/1"
  "$LRUFS" get "$T" 1 | cmp - "$in/1"
  # Nothing temporary is left.
  expect_eq "temporary names" "" "$(say ls -R "$T" | grep -F .lrufs || true)"
  if [[ -n $M ]]; then cmp "$M/by file/3000001" "$in/3000001"; fi
}

names() {
  local name long odd
  long=$(printf 'n%.0s' {1..255})
  odd=$'\xff\xfe odd\x01\tname'
  for name in "$long" "d/$long/$long" "$odd" $'new\nline' "'quoted\"" '[a,b]' '{}' '%%' '*' put get -- ' blank '; do
    expect_status 0 put "$T" -- "k/$name" "$in/100"
    "$LRUFS" get "$T" -- "k/$name" | cmp - "$in/100" || fail "get of '$name' differs"
  done
  expect_status 0 put "$T" '[a,b]' "$in/1"  # as an argument by itself
  "$LRUFS" get "$T" '[a,b]' | cmp - "$in/1"
  expect_status 0 put "$T" '{}' "$in/1"
  expect_status 0 put "$T" rm "$in/1"  # the name of a verb
  expect_status 0 rm "$T" rm '[a,b]' '{}'
  expect_eq "after rm" k "$(say ls "$T")"
  expect_status 0 put "$T" -- -dash "$in/1"
  "$LRUFS" get "$T" -- -dash | cmp - "$in/1"
  refuse "255" put "$T" "${long}n" "$in/1"
  refuse "255" get "$T" "${long}n"
  # ".." stops at the root, and never leaves the store.
  expect_status 0 put "$T" ../../../outside "$in/1"
  "$LRUFS" get "$T" outside | cmp - "$in/1"
  [[ ! -e $WORK/outside && ! -e $WORK/../outside ]] || fail "a key has left the store"
}

errors() {
  expect_status 0 put "$T" folder/file "$in/100"
  local before
  before=$(say ls -R "$T")
  refuse "nothing-here;no such object" get "$T" nothing-here
  refuse "no such object" get "$T" folder/nothing/deeper
  refuse "folder;lrufs ls" get "$T" folder
  refuse "lrufs ls" get "$T" /
  refuse "slash" get "$T" folder/file/
  refuse "no folder" get "$T" folder/file/below
  refuse "folder;slash" put "$T" folder "$in/100"
  refuse "no folder" put "$T" folder/file/below "$in/100"
  refuse_with 2 "names a folder" put "$T" folder/
  refuse_with 2 "KEY" put "$T"
  refuse "missing;no such file" put "$T" x "$WORK/missing"
  refuse "is a folder;cp -r" put "$T" x "$in"
  refuse_with 2 "--ttl;soon;5s" put --ttl soon "$T" x "$in/1"
  refuse_with 2 "--ttl;0" put --ttl 0 "$T" x "$in/1"
  refuse "Is a directory|folder" get -o "$WORK" "$T" folder/file
  refuse "no such file" get -o "$WORK/no/such/file" "$T" folder/file
  expect_eq "objects after errors" "$before" "$(say ls -R "$T")"

  # A file of nothing but zeros through a pipe, larger than the store: all is as it was.
  if head -c 100M /dev/zero | run 60 "$LRUFS" put "$T" folder/file 2> "$WORK/err"; then fail "100M went into 64M"; fi
  expect_words "too large" "$(cat "$WORK/err")" "lrufs: folder/file: the store is full"
  "$LRUFS" get "$T" folder/file > "$WORK/got" 2> /dev/null || true
  if [[ -s $WORK/got ]]; then cmp "$WORK/got" "$in/100"; fi
  expect_eq "temporary names" "" "$(say ls -R "$T" | grep -F .lrufs || true)"

  # The output.
  expect_status 0 put "$T" big "$in/3000001"
  local status=0
  "$LRUFS" get "$T" big > /dev/full 2> "$WORK/err" || status=$?
  expect_eq "get to a full disk" 1 "$status"
  expect_words "get to a full disk" "$(cat "$WORK/err")" "lrufs: cannot write the output: No space left on device"
  status=0
  "$LRUFS" ls -R "$T" > /dev/full 2> "$WORK/err" || status=$?
  expect_eq "ls to a full disk" 1 "$status"
  expect_words "ls to a full disk" "$(cat "$WORK/err")" "No space left on device"
  ("$LRUFS" get "$T" big 2> "$WORK/err" || true) | head -c 10 > /dev/null
  expect_eq "what get | head says" "" "$(cat "$WORK/err")"
  (trap '' PIPE; "$LRUFS" get "$T" big 2> "$WORK/err" || true) | head -c 10 > /dev/null
  expect_eq "what get | head says where SIGPIPE is ignored" "" "$(cat "$WORK/err")"
  # -o replaces what is there only when it is whole.
  echo old > "$WORK/old"
  refuse "no such object" get -o "$WORK/old" "$T" nothing-here
  expect_eq "the old file" old "$(cat "$WORK/old")"
  expect_status 0 get -o "$WORK/old" "$T" folder/../big
  cmp "$WORK/old" "$in/3000001"
  rm "$WORK/old"
}

# What is stopped in the middle leaves nothing.
interrupted() {
  expect_status 0 put "$T" old "$in/100"
  local signal pid status fifo=$WORK/fifo
  rm -f "$fifo"
  mkfifo "$fifo"
  # As it comes first, so that the shell of this test does not ignore it for its child.
  for signal in INT TERM HUP; do
    python3 -c 'import os, signal, sys
for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$LRUFS" put "$T" old < "$fifo" 2> "$WORK/err" &
    pid=$!
    exec 6> "$fifo"
    head -c 2000000 /dev/urandom >&6
    wait_for "put reads" 20 reads_pipe "$pid"
    kill -s "$signal" "$pid"
    status=0
    wait "$pid" || status=$?
    exec 6>&-
    expect_eq "exit status after SIG$signal" $(( 128 + $(kill -l "$signal") )) "$status"
    "$LRUFS" get "$T" old | cmp - "$in/100" || fail "put, stopped by SIG$signal, has changed the file"
    expect_eq "objects after SIG$signal" old "$(say ls -R "$T")"
  done
}
# It has taken what was in the pipe and waits for more.
reads_pipe() { [[ $(cat "/proc/$1/wchan" 2> /dev/null) == *poll* ]] || grep -q poll "/proc/$1/stack" 2> /dev/null; }

attributes() {
  local option
  for option in --pin --ttl=1h; do
    expect_status 0 put "$option" "$T" "kept$option" "$in/100"
    expect_eq "xattrs of put $option" True \
      "$(say stat --json "$T" "kept$option" | json '"user.lrufs." + "'"${option:2:3}"'" in it["xattrs"]')"
  done
}

for part in sizes_and_ways names errors interrupted attributes; do on_both "$part"; done

step "paths in a mount"
store=$WORK/cache.lrufs mnt=$WORK/mnt
mount_store "$store" "$mnt" --size 64M
expect_status 0 put "$mnt/a/b/c" "$in/100"
"$LRUFS" put "$mnt/a/b/d" < "$in/1"
expect_status 0 put "$mnt/a/" "$in/4096"
expect_status 0 put "$mnt/a" b/e "$in/100"  # KEY seen from there
for key in b/c b/e; do cmp "$mnt/a/$key" "$in/100"; done
cmp "$mnt/a/b/d" "$in/1"
cmp "$mnt/a/4096" "$in/4096"
"$LRUFS" get "$mnt/a/b/c" | cmp - "$in/100"
"$LRUFS" get "$mnt/a" b/c | cmp - "$in/100"
(cd "$mnt/a" && "$LRUFS" get ./b/d | cmp - "$in/1" && "$LRUFS" get b c | cmp - "$in/100")
ln -s "$mnt/a" "$WORK/link-into-it"
"$LRUFS" get "$WORK/link-into-it" b/c | cmp - "$in/100"
ln -s b/c "$mnt/a/link"
ln -s / "$mnt/a/out"
refuse "symbolic link to b/c;not followed" get "$mnt/a/link"
refuse "symbolic link to b/c;not followed" get "$mnt" a/link
refuse "no folder.*not followed" get "$mnt" a/out/etc/passwd
refuse "no folder.*not followed" put "$mnt" a/out/tmp/lrufs-test "$in/1"
expect_status 0 put "$mnt" a/link "$in/1"  # in place of the link
[[ ! -L $mnt/a/link ]] || fail "put has followed a link"
cmp "$mnt/a/b/c" "$in/100"
mkfifo "$mnt/fifo"
refuse "no regular file" get "$mnt" fifo
refuse "not in a mount of lrufs" get "$WORK/in" x
refuse "no such file;mount makes one" get "$WORK/no.lrufs" x
refuse "not a regular file" get /dev/null x
# A store that lies in a mount of lrufs: with a KEY it is one, without it is a file.
cp "$in/100" "$mnt/plain"
refuse "not a.*store" get "$mnt/plain" key
"$LRUFS" get "$mnt/plain" | cmp - "$in/100"

step "a read-only mount, and one that is dead"
umount_store "$store" "$mnt"
mount_store "$store" "$mnt" -o ro
"$LRUFS" get "$store" a/b/c | cmp - "$in/100"
refuse "read-only" put "$mnt" new "$in/1"
refuse "read-only" put "$store" new "$in/1"
umount_store "$store" "$mnt"
mount_store "$store" "$mnt"
kill -KILL "$DAEMON"
wait_for "the killed daemon is gone" 30 is_gone "$DAEMON"
refuse "gone;lrufs umount $mnt" get "$mnt" a/b/c
refuse "gone;lrufs umount $mnt" get "$mnt/a/b/c"
refuse "gone;lrufs umount $mnt" put "$mnt" new "$in/1"
refuse "gone;lrufs umount $mnt" ls "$mnt"
"$LRUFS" get "$store" a/b/c | cmp - "$in/100"  # nobody has the store itself
expect_status 0 umount "$mnt"
expect_status 0 put "$store" new "$in/1"
verify_store "$store"

step "in use by a process whose mount cannot be seen"
mount_store "$store" "$mnt"
if is_root && command -v unshare > /dev/null; then
  status=0
  run 60 unshare -m sh -c 'umount -l "$1" && exec "$2" put "$3" x "$4"' sh "$mnt" "$LRUFS" "$store" "$in/1" \
    2> "$WORK/err" || status=$?
  expect_eq "put where the mount cannot be seen" 1 "$status"
  expect_words "put where the mount cannot be seen" "$(cat "$WORK/err")" "in use" "cannot be seen from here"
fi
if is_root && id nobody > /dev/null 2>&1 && command -v setpriv > /dev/null; then
  umount_store "$store" "$mnt"
  chmod 711 "$WORK"
  chmod 600 "$store"
  as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
  if as_nobody "$LRUFS" --version > /dev/null 2>&1; then
    step "a user who may not"
    status=0
    as_nobody "$LRUFS" get "$store" new 2> "$WORK/err" || status=$?
    expect_eq "get by nobody" 1 "$status"
    expect_words "get by nobody" "$(cat "$WORK/err")" "ermission denied" "$store"
    mount_store "$store" "$mnt" -o allow_other
    chmod 755 "$mnt"
    status=0
    as_nobody "$LRUFS" put "$mnt" new2 "$SOURCE_DIR/README.md" 2> "$WORK/err" || status=$?
    expect_eq "put by nobody" 1 "$status"
    expect_words "put by nobody" "$(cat "$WORK/err")" "new2: Permission denied"
  fi
fi
check_store "$store" "$mnt"
step "passed"
