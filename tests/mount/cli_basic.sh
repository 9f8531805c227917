#!/usr/bin/env bash
# The program as people use it: help, mount, stat, umount, and every way in which a mount can end.
# ctest: timeout=300
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
on_lrufs || skip "is about the program itself"
need python3

mnt=$WORK/mnt
store=$WORK/cache.lrufs
mkdir "$mnt"

expect_words() {  # expect_words WHAT TEXT WORD...
  local what=$1 text=$2 word
  shift 2
  for word; do grep -qiF -- "$word" <<< "$text" || fail "$what: expected '$word' in: $text"; done
}
# The value of a key of `lrufs stat --json`, e.g. statistics.files
stat_of() {
  run 30 "$LRUFS" stat --json "$1" |
    python3 -c 'import functools, json, sys
print(functools.reduce(lambda d, k: d[k], sys.argv[1].split("."), json.load(sys.stdin)))' "$2"
}
# usage STATUS ARGUMENTS...: exit status of a call
expect_status() {
  local expected=$1 status=0
  shift
  run 60 "$LRUFS" "$@" > "$WORK/out" 2>&1 || status=$?
  (( status == expected )) || fail "lrufs $*: expected exit status $expected, saw $status: $(cat "$WORK/out")"
}
lock_is_free() { run 60 "$LRUFS" check "$store" > "$WORK/check.out" 2>&1; }

step "help and version"
version=$("$LRUFS" --version)
[[ $version =~ ^lrufs\ [0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "expected 'lrufs N.N.N' from --version, saw: $version"
help=$("$LRUFS" --help)
expect_words "lrufs --help" "$help" mount umount stat check Examples "Exit codes" "lrufs mount --size"
for verb in mount umount stat check; do
  expect_eq "lrufs $verb --version" "$version" "$("$LRUFS" "$verb" --version)"
  expect_words "lrufs $verb --help" "$("$LRUFS" "$verb" --help)" Usage Example
  expect_words "lrufs $verb -h" "$("$LRUFS" "$verb" -h)" Usage
  expect_status 2 "$verb"
  expect_status 2 "$verb" --frobnicate
done
expect_words "lrufs mount --help" "$("$LRUFS" mount --help)" --size --sync --recency --max-files --foreground \
  --from-checkpoint --log --log-level -o fstab
expect_status 2
expect_status 2 frobnicate
expect_status 2 "$store" "$mnt"

step "mount returns when the mount answers"
for i in {1..10}; do
  run 30 "$LRUFS" mount --size 64M --log "$DAEMON_LOG" "$store" "$mnt"
  # At once, without waiting.
  expect_eq "file system type" fuseblk "$(stat -f -c %T "$mnt" | sed s/fuse$/fuseblk/)"
  echo "round $i" > "$mnt/round"
  expect_eq "what was written" "round $i" "$(cat "$mnt/round")"
  expect_status 0 umount "$mnt"
  is_unmounted "$mnt" || fail "umount returned 0, but $mnt is mounted"
  lock_is_free || fail "umount returned, but the store is in use: $(cat "$WORK/check.out")"
done
expect_eq "opened after a clean unmount" clean "$(stat_of "$store" statistics.opened_from)"

step "quietly, with nothing left open"
run 30 "$LRUFS" mount --log "$DAEMON_LOG" "$store" "$mnt" > "$WORK/out" 2>&1  # would hang if the daemon kept them
expect_eq "output of a mount that went well" "" "$(cat "$WORK/out")"
out=$(run 30 "$LRUFS" umount "$mnt" 2>&1)
expect_eq "output of an unmount that went well" "" "$out"
out=$(run 30 "$LRUFS" mount --log "$DAEMON_LOG" "$store" "$mnt" 2>&1)
expect_eq "output of a mount in \$( )" "" "$out"

expect_status 2 umount --timeout soon "$mnt"
is_mounted "$mnt" || fail "umount with a wrong --timeout has unmounted"
expect_status 0 umount --timeout 1m "$mnt"
exec 8> "$WORK/lock"
flock 8
run 30 "$LRUFS" mount --log "$DAEMON_LOG" "$store" "$mnt" 
exec 8>&-
flock -n "$WORK/lock" true || fail "the daemon holds a lock of the script that started it"

step "statistics"
expect_eq "bound of a store that was mounted without --size" $(( 64 << 20 )) "$(stat_of "$mnt" statistics.bound_bytes)"
expect_eq "files" 1 "$(stat_of "$mnt" statistics.files)"
expect_eq "store of a mount" "$store" "$(stat_of "$mnt" store)"
pid=$(daemon_pids "$store")
expect_eq "process of a mount" "$pid" "$(stat_of "$mnt" pid)"
expect_eq "process of a mount, by the store" "$pid" "$(stat_of "$store" pid)"
mkdir "$mnt/folder"
expect_eq "a folder in a mount is an object" folder "$(stat_of "$mnt/folder" type)"
[[ ! -e $mnt/absent ]] || fail "$mnt/absent is there"
expect_words "lrufs stat MOUNTPOINT" "$("$LRUFS" stat "$mnt")" Hits "lookups" Bound "64 MiB" Used Free Files "$mnt" "$store" Evicted \
  "parallel_dirops on" "io_uring o" "Answered by"
[[ $(readlink "/proc/$pid/cwd") == / ]] || fail "the daemon's folder is $(readlink "/proc/$pid/cwd")"
for fd in 0 1 2; do expect_eq "the daemon's descriptor $fd" /dev/null "$(readlink "/proc/$pid/fd/$fd")"; done
[[ $(ps -o sid= -p "$pid" | tr -d ' ') == "$pid" ]] || fail "the daemon is not in a session of its own"
expect_status 0 umount "$store"  # by the store's name
expect_eq "files, unmounted" 1 "$(stat_of "$store" statistics.files)"
expect_words "lrufs stat STORE" "$("$LRUFS" stat "$store")" Bound "64 MiB" "Mounted          no"
expect_eq "size of a new store by default" $(( 10 << 30 )) "$(
  "$LRUFS" mount --log "$DAEMON_LOG" "$WORK/default.lrufs" "$mnt" && stat_of "$mnt" statistics.bound_bytes)"
expect_status 0 umount "$mnt"
rm "$WORK/default.lrufs"

step "relative paths, blanks, links"
mkdir -p "$WORK/a folder/mount point"
(cd "$WORK/a folder" && run 30 "$LRUFS" mount --size 64M --log "a log" "a store" "mount point/")
is_mounted "$WORK/a folder/mount point" || fail "a relative mount point was not mounted"
echo hello > "$WORK/a folder/mount point/hello"
[[ -s "$WORK/a folder/a store" ]] || fail "the store is not where it was asked for"
expect_status 1 mount "$WORK/a folder/a store" "$mnt"
expect_words "a second mount" "$(cat "$WORK/out")" "in use" "$WORK/a folder/mount point"
(cd "$WORK/a folder/mount point" && "$LRUFS" stat . > "$WORK/out") || fail "lrufs stat . failed"
(cd "$WORK/a folder" && run 30 "$LRUFS" umount "mount point")
[[ -s "$WORK/a folder/a log" ]] || fail "nothing was logged to a relative path"
ln -s "$WORK/a folder/a store" "$WORK/link"
ln -s "$mnt" "$WORK/mountlink"
run 30 "$LRUFS" mount --log "$DAEMON_LOG" "$WORK/link" "$WORK/mountlink"
expect_eq "a file, through links" hello "$(cat "$mnt/hello")"
expect_status 0 umount "$WORK/mountlink"

step "every way to end"
# ends_clean WHAT COMMAND...: ends the mount with COMMAND; then the store is closed, and clean.
ends_clean() {
  local what=$1 content
  shift
  mount_store "$store" "$mnt"
  content="before $what"
  echo "$content" > "$mnt/end"
  "$@" > "$WORK/out" 2>&1 || fail "$what: exit status $?: $(cat "$WORK/out")"
  wait_for "$what ends the mount" 30 is_unmounted "$mnt"
  wait_for "$what ends the daemon" 30 is_gone "$DAEMON"
  expect_eq "how the store was left by $what" clean "$(stat_of "$store" statistics.opened_from)"
  verify_store "$store"
  mount_store "$store" "$mnt"
  expect_eq "a file from before $what" "$content" "$(cat "$mnt/end")"
  umount_store "$store" "$mnt"
}
by_signal() { kill "-$1" "$DAEMON"; }
ends_clean "lrufs umount" run 60 "$LRUFS" umount "$mnt"
ends_clean "SIGTERM" by_signal TERM
ends_clean "SIGINT" by_signal INT
ends_clean "SIGHUP" by_signal HUP
if is_root; then ends_clean "umount" run 60 umount "$mnt"; fi
ends_clean "fusermount3 -u" run 60 fusermount3 -u "$mnt"

step "in the foreground"
for signal in INT TERM; do
  "$LRUFS" mount -f --log "$WORK/foreground.log" --log-level debug "$store" "$mnt" &
  pid=$!
  wait_for "a mount in the foreground" 30 is_mounted "$mnt"
  expect_eq "a file, in the foreground" "before fusermount3 -u" "$(cat "$mnt/end")"
  kill "-$signal" "$pid"
  status=0
  wait "$pid" || status=$?
  expect_eq "exit status in the foreground after SIG$signal" 0 "$status"
  is_unmounted "$mnt" || fail "still mounted after SIG$signal"
done
"$LRUFS" mount --foreground "$store" "$mnt" 2> "$WORK/foreground.err" &
pid=$!
wait_for "a mount in the foreground" 30 is_mounted "$mnt"
expect_status 0 umount "$mnt"
wait "$pid" || fail "exit status $? in the foreground after lrufs umount"
[[ -s $WORK/foreground.err ]] || fail "nothing was logged to stderr in the foreground"

step "in use by a program"
mount_store "$store" "$mnt"
exec 7< "$mnt/end"
expect_status 1 umount "$mnt"
expect_words "umount of a mount that is in use" "$(cat "$WORK/out")" "in use" "$mnt" --lazy
is_mounted "$mnt" || fail "umount failed, but the mount is gone"
expect_eq "a file after a failed umount" "before fusermount3 -u" "$(cat "$mnt/end")"
expect_status 0 umount --lazy "$mnt"
is_unmounted "$mnt" || fail "umount --lazy left the mount"
expect_eq "an open file after umount --lazy" "before fusermount3 -u" "$(cat <&7)"
exec 7<&-
wait_for "the daemon ends when the last file is closed" 30 is_gone "$DAEMON"
verify_store "$store"

step "a daemon that was killed"
mount_store "$store" "$mnt"
echo "closed before the kill" > "$mnt/killed"
kill -KILL "$DAEMON"
wait_for "the killed daemon is gone" 30 is_gone "$DAEMON"  # a request that it was just reading ends with EIO
expect_status 1 stat "$mnt"
expect_words "stat of a dead mount" "$(cat "$WORK/out")" "gone" "lrufs umount"
expect_status 0 umount "$mnt"
is_unmounted "$mnt" || fail "umount left a dead mount"
mount_store "$store" "$mnt"
expect_eq "opened after SIGKILL" live "$(stat_of "$mnt" statistics.opened_from)"
expect_eq "a file after SIGKILL" "closed before the kill" "$(cat "$mnt/killed")"
kill -KILL "$DAEMON"
mount_store "$store" "$mnt"  # over the dead one
expect_words "mount over a dead mount" "$(cat "$WORK/mount.out")" "dead mount" "$mnt"
expect_eq "mounts at $mnt" 1 "$(awk -v m="$mnt" '$5 == m' /proc/self/mountinfo | wc -l)"
expect_eq "a file after SIGKILL" "closed before the kill" "$(cat "$mnt/killed")"
umount_store "$store" "$mnt"
verify_store "$store"

step "as mount(8) calls it"
run 30 "$LRUFS" "$store" "$mnt" -o "rw,dev,suid,nofail,x-systemd.automount,size=96M,recency=2s,log=$DAEMON_LOG"
expect_eq "size= in -o" $(( 96 << 20 )) "$(stat_of "$mnt" statistics.bound_bytes)"
expect_eq "recency= in -o" 2000 "$(stat_of "$mnt" recency_ms)"
umount_store "$store" "$mnt"
# mount(8) and fstab find the helper /sbin/mount.fuse, which finds lrufs on PATH (mount(8) resets that, so it is left out).
if is_root && [[ -x /sbin/mount.fuse ]]; then
  mkdir "$WORK/bin"
  ln -s "$LRUFS" "$WORK/bin/lrufs"
  PATH=$WORK/bin:$PATH run 30 /sbin/mount.fuse "$store" "$mnt" -t fuse.lrufs -o "rw,noatime,sync=always,log=$DAEMON_LOG"
  is_mounted "$mnt" || fail "/sbin/mount.fuse returned 0, but $mnt is no mount"
  expect_eq "a file on a mount by mount(8)" "closed before the kill" "$(cat "$mnt/killed")"
  umount_store "$store" "$mnt"
  ln -s "$LRUFS" "$WORK/bin/mount.lrufs"
  run 30 "$WORK/bin/mount.lrufs" "$store" "$mnt" -n -s -o "rw,log=$DAEMON_LOG"
  expect_eq "a file on a mount by mount.lrufs" "closed before the kill" "$(cat "$mnt/killed")"
  umount_store "$store" "$mnt"
fi

step "options that reach the kernel"
mount_store "$store" "$mnt" -o ro,nosuid -o nodev,noexec,fsname=my-cache
options=$(awk -v m="$mnt" '$5 == m { print $6 "," $NF; print $(NF - 1) }' /proc/self/mountinfo)
expect_words "options of the mount" "$options" ro nosuid nodev noexec my-cache
expect_eq "a file on a read-only mount" "closed before the kill" "$(cat "$mnt/killed")"
! touch "$mnt/new" 2> /dev/null || fail "a file was made on a read-only mount"
expect_eq "store of a mount with fsname" "$store" "$(stat_of "$store" store)"
umount_store "$store" "$mnt"
mount_store "$store" "$mnt" -o noxattr
expect_status 1 stat "$mnt"
expect_words "stat of a mount with noxattr" "$(cat "$WORK/out")" noxattr
umount_store "$store" "$mnt"

if is_root && command -v setpriv unshare fusermount3 > /dev/null && id nobody > /dev/null 2>&1; then
  step "as a user"
  # In a mount namespace of its own, where everybody may open /dev/fuse.
  chmod 711 "$WORK"
  mknod -m 666 "$WORK/fuse" c 10 229
  mkdir -m 700 "$WORK/users"
  mkdir "$WORK/users/mnt"
  chown -R nobody:nogroup "$WORK/users"
  cat > "$WORK/as_user.sh" << 'END'
set -euo pipefail
home=$1
mount --bind "$(dirname "$home")/fuse" /dev/fuse
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
as_nobody "$LRUFS" --version > /dev/null && as_nobody test -r /dev/fuse || exit 77
mounted() { grep -qF " $home/mnt " /proc/self/mountinfo; }
as_nobody "$LRUFS" mount --size 64M --log "$home/log" "$home/s" "$home/mnt"
as_nobody sh -c 'echo mine > "$0/file"; cat "$0/file"' "$home/mnt"
if ls "$home/mnt" > /dev/null 2>&1; then echo "root sees a user's mount without allow_other"; exit 1; fi
as_nobody "$LRUFS" stat "$home/mnt" > /dev/null
exec 7< <(exec setpriv --reuid nobody --regid nogroup --clear-groups \
  sh -c 'cd "$0" && echo busy && exec sleep 100' "$home/mnt")
busy=$!
read -r -u 7
if as_nobody "$LRUFS" umount "$home/mnt" 2> "$home/../err"; then echo "a busy mount was unmounted"; exit 1; fi
grep -qF -- --lazy "$home/../err"
kill "$busy"
wait "$busy" || true
as_nobody "$LRUFS" umount "$home/mnt"
if mounted; then echo "the user's umount left the mount"; exit 1; fi
as_nobody "$LRUFS" check "$home/s" > /dev/null
as_nobody "$LRUFS" mount --log "$home/log" "$home/s" "$home/mnt"
"$LRUFS" umount "$home/mnt"  # root may, too
if mounted; then echo "root's umount left the user's mount"; exit 1; fi
"$LRUFS" check "$home/s" > /dev/null  # and has waited until the store was closed
echo done
END
  status=0
  run 60 unshare -m --propagation private bash "$WORK/as_user.sh" "$WORK/users" > "$WORK/out" 2>&1 || status=$?
  case $status in
    0) expect_eq "output of a user's mount" $'mine\ndone' "$(cat "$WORK/out")" ;;
    77) echo "   left out: nobody cannot run $LRUFS, or open a device in $WORK" ;;
    *) fail "as a user: exit status $status: $(cat "$WORK/out")" ;;
  esac
fi

step "passed"
