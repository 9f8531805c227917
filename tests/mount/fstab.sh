#!/usr/bin/env bash
# mount(8) itself, with the helpers that the package installs and lines of /etc/fstab, in a mount namespace of its own; and the
# units that systemd makes of such lines (x-systemd.automount).
# ctest: timeout=120
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
on_lrufs || skip "is about the program itself"
is_root || skip "needs root"
need mount unshare findmnt setpriv

mkdir "$WORK"/{sbin,sbin.work,one,two}
chmod 711 "$WORK"
mkdir -p "$WORK/users/mnt"
chown -R nobody:nogroup "$WORK/users"
mknod -m 666 "$WORK/fuse" c 10 229
ln -s "$LRUFS" "$WORK/sbin/mount.lrufs"
ln -s "$LRUFS" "$WORK/sbin/mount.fuse.lrufs"
cat > "$WORK/fstab" << END
$WORK/one.lrufs  $WORK/one  lrufs  size=64M,allow_other,nodev,nosuid,nofail,log=$DAEMON_LOG  0 0
$WORK/two.lrufs  $WORK/two  fuse.lrufs  size=64M,noatime,noauto,x-systemd.automount,x-systemd.idle-timeout=60,log=$DAEMON_LOG  0 0
$WORK/users/store  $WORK/users/mnt  lrufs  size=64M,noauto,user,log=$WORK/users/log  0 0
END

cat > "$WORK/inside.sh" << 'END'
set -euo pipefail
fail() { echo "FAIL: $*"; exit 1; }
# /sbin is /usr/sbin; the folder of the test lies over it, with what it has below.
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$WORK/sbin,workdir=$WORK/sbin.work" /usr/sbin || exit 77
mount --bind "$WORK/fstab" /etc/fstab
source_of() { findmnt -n -o SOURCE,FSTYPE --mountpoint "$1" || true; }

echo "== mount -t lrufs, mount -t fuse.lrufs"
for type in lrufs fuse.lrufs; do
  mount -t "$type" -o "size=96M,log=$DAEMON_LOG" "$WORK/$type.store" "$WORK/one"
  [[ $(source_of "$WORK/one") == "$WORK/$type.store fuse.lrufs" ]] || fail "mount -t $type: saw $(source_of "$WORK/one")"
  echo "by $type" > "$WORK/one/file"
  "$LRUFS" stat "$WORK/one" | grep -q '96 MiB' || fail "mount -t $type: expected its option size"
  umount "$WORK/one"
  mount -t "$type" -o "ro,log=$DAEMON_LOG" "$WORK/$type.store" "$WORK/one"
  [[ $(< "$WORK/one/file") == "by $type" ]] || fail "mount -t $type: expected the file"
  if touch "$WORK/one/new" 2> /dev/null; then fail "mount -t $type -o ro: written"; fi
  umount "$WORK/one"
done
if mount -t lrufs -o "log=$DAEMON_LOG" "$WORK/absent/store" "$WORK/one" 2> "$WORK/err"; then fail "a store in no folder was mounted"; fi
grep -q "does not exist" "$WORK/err" || fail "expected to be told what is missing, saw $(< "$WORK/err")"

echo "== lines of /etc/fstab"
findmnt --verify --tab-file /etc/fstab > "$WORK/verify" 2>&1 || true
if grep -E '^ +\[E\]' "$WORK/verify" | grep -v unreachable; then fail "findmnt --verify: $(< "$WORK/verify")"; fi
mount -a
[[ $(source_of "$WORK/one") == "$WORK/one.lrufs fuse.lrufs" ]] || fail "mount -a: saw $(source_of "$WORK/one")"
options=$(findmnt -n -o OPTIONS --mountpoint "$WORK/one")
for word in nodev nosuid allow_other; do
  [[ ,$options, == *,$word,* ]] || fail "mount -a: expected $word, saw $options"
done
[[ -z $(source_of "$WORK/two") ]] || fail "mount -a has mounted what says noauto"
mount "$WORK/two"
echo two > "$WORK/two/file"
umount "$WORK/two"
if mount -o remount "$WORK/one" 2> "$WORK/err"; then fail "remounted"; fi
grep -q "unmount it and mount it again" "$WORK/err" || fail "remount: expected to be told what to do, saw $(< "$WORK/err")"

echo "== a dead mount"
echo kept > "$WORK/one/file"
pid=$("$LRUFS" stat --json "$WORK/one" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
[[ $pid =~ ^[0-9]+$ ]] || fail "no process id in lrufs stat --json"
kill -KILL "$pid"
timeout 20 tail --pid="$pid" -f /dev/null
if stat -f "$WORK/one" > /dev/null 2>&1; then fail "the mount answers, but its daemon was killed"; fi
mount "$WORK/one"
[[ $(< "$WORK/one/file") == kept ]] || fail "after a dead mount: saw $(< "$WORK/one/file")"
[[ $(grep -c " $WORK/one " /proc/self/mountinfo) == 1 ]] || fail "the dead mount is still there"
umount -a -t fuse.lrufs

echo "== a line that lets users mount"
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
mount --bind "$WORK/fuse" /dev/fuse
if [[ -u /usr/bin/mount ]] && as_nobody "$LRUFS" --version > /dev/null && as_nobody test -r /dev/fuse; then
  as_nobody mount "$WORK/users/mnt"
  options=$(findmnt -n -o OPTIONS --mountpoint "$WORK/users/mnt")
  for word in nodev nosuid noexec user_id=65534; do
    [[ ,$options, == *,$word,* ]] || fail "a user's mount: expected $word, saw $options"
  done
  as_nobody sh -c 'echo mine > "$0/file"' "$WORK/users/mnt"
  as_nobody umount "$WORK/users/mnt"
  if grep -qF " $WORK/users/mnt " /proc/self/mountinfo; then fail "the user's umount left the mount"; fi
else
  echo "   left out: nobody cannot run mount(8), $LRUFS, or open a device in $WORK"
fi
END
step "in a namespace of its own"
status=0
export WORK DAEMON_LOG
run 80 unshare -m --propagation private bash "$WORK/inside.sh" > "$WORK/out" 2>&1 || status=$?
cat "$WORK/out"
case $status in
  0) ;;
  77) skip "no overlay over /usr/sbin" ;;
  *) fail "exit status $status" ;;
esac
for store in "$WORK/one.lrufs" "$WORK/two.lrufs"; do
  wait_for "the daemon of $store ends" 20 no_daemon "$store"
  verify_store "$store"
done

generator=/usr/lib/systemd/system-generators/systemd-fstab-generator
if [[ -x $generator ]] && command -v systemd-analyze > /dev/null; then
  step "units of systemd"
  mkdir "$WORK/units" "$WORK/units.early" "$WORK/units.late"
  SYSTEMD_FSTAB=$WORK/fstab run 20 "$generator" "$WORK/units" "$WORK/units.early" "$WORK/units.late"
  name=$(systemd-escape --path "$WORK/two")
  grep -q "^What=$WORK/two.lrufs$" "$WORK/units/$name.mount" || fail "expected What= of the store: $(cat "$WORK/units/$name.mount")"
  grep -q "^Type=fuse.lrufs$" "$WORK/units/$name.mount" || fail "expected the type: $(cat "$WORK/units/$name.mount")"
  grep -q "^TimeoutIdleSec=" "$WORK/units/$name.automount" || fail "expected the idle timeout: $(cat "$WORK/units/$name.automount")"
  out=$(run 60 systemd-analyze verify --man=no "$WORK/units/$name.automount" "$WORK/units/$name.mount" 2>&1) ||
    fail "systemd-analyze verify: $out"
  expect_eq "what systemd-analyze says about them" "" "$(grep -F "$name" <<< "$out" || true)"
else
  echo "   left out: the units of systemd (no systemd-fstab-generator)"
fi
step "passed"
