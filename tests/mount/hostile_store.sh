#!/usr/bin/env bash
# A store that somebody has made to gain rights by it: set-id programs and device nodes do nothing on a mount, whoever mounts,
# unless root asks for them; nobody else can ask. Bytes at random in a store's place, or in a store, are refused or survived.
# ctest: timeout=180
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
on_lrufs || skip "is about the program itself"
is_root || skip "needs root"
need setpriv unshare fusermount3 python3
id nobody > /dev/null 2>&1 || skip "no user nobody"

store=$WORK/hostile.lrufs
mnt=$WORK/mnt
chmod 711 "$WORK"
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
as_nobody "$LRUFS" --version > /dev/null 2>&1 || skip "nobody cannot run $LRUFS"

# euid_of PROGRAM: as which user it runs when nobody runs it.
euid_of() { as_nobody "$1" -u; }
# expect_harmless MNT: neither the set-id program nor the device does anything.
expect_harmless() {
  local options
  options=$(awk -v m="$1" '$5 == m { print $6 }' /proc/self/mountinfo)
  [[ ,$options, == *,nosuid,* && ,$options, == *,nodev,* ]] || fail "expected nosuid and nodev at $1, saw $options"
  expect_eq "user of a set-id program" "$(id -u nobody)" "$(euid_of "$1/become_root")"
  ! as_nobody sh -c 'cat "$0" > /dev/null' "$1/null" 2> /dev/null || fail "a device on $1 was opened"
}

step "what a hostile store may hold"
mount_store "$store" "$mnt" --size 64M -o allow_other,suid,dev
cp /usr/bin/id "$mnt/become_root"
chmod 4755 "$mnt/become_root"
mknod -m 666 "$mnt/null" c 1 3
# That the store is as dangerous as it is said to be: with suid and dev, which root asked for.
expect_eq "user of a set-id program, with -o suid" 0 "$(euid_of "$mnt/become_root")"
as_nobody sh -c 'cat "$0" > /dev/null' "$mnt/null" || fail "the device cannot be opened with -o dev"
umount_store "$store" "$mnt"

step "root mounts it, without asking for more"
mount_store "$store" "$mnt" -o allow_other
expect_harmless "$mnt"
umount_store "$store" "$mnt"

step "a user mounts it"
mkdir -m 755 "$WORK/users"
mkdir "$WORK/users/mnt"
cp --sparse=always "$store" "$WORK/users/store"
chown -R nobody:nogroup "$WORK/users"
mknod -m 666 "$WORK/fuse" c 10 229
cat > "$WORK/as_user.sh" << 'END'
set -euo pipefail
home=$1
mount --bind "$(dirname "$home")/fuse" /dev/fuse
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
as_nobody test -r /dev/fuse || exit 77
if as_nobody "$LRUFS" mount --log "$home/log" -o suid,dev "$home/store" "$home/mnt" > /dev/null 2>&1; then
  awk -v m="$home/mnt" '$5 == m { print "asked: " $6 }' /proc/self/mountinfo
  as_nobody "$LRUFS" umount "$home/mnt"
fi
as_nobody "$LRUFS" mount --log "$home/log" "$home/store" "$home/mnt"
awk -v m="$home/mnt" '$5 == m { print "default: " $6 }' /proc/self/mountinfo
as_nobody "$home/mnt/become_root" -u
if as_nobody sh -c 'cat "$0" > /dev/null' "$home/mnt/null" 2> /dev/null; then echo "the device was opened"; fi
pid=$(as_nobody "$LRUFS" stat --json "$home/mnt" | sed -n 's/.*"worker_pid": *\([0-9]*\).*/\1/p')
# A user's daemon has no capability to lose, but gains none either: its keeper executes fusermount3.
awk '/^(NoNewPrivs|Seccomp):/ { print $1 $2 }' "/proc/$pid/status"
as_nobody "$LRUFS" umount "$home/mnt"
if grep -qF " $home/mnt " /proc/self/mountinfo; then echo "still mounted"; fi
# SIGTERM has the daemon itself unmount.
as_nobody "$LRUFS" mount --log "$home/log" "$home/store" "$home/mnt"
pid=$(as_nobody "$LRUFS" stat --json "$home/mnt" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
as_nobody kill -TERM "$pid"
timeout 30 tail --pid="$pid" -f /dev/null
if grep -qF " $home/mnt " /proc/self/mountinfo; then echo "SIGTERM: still mounted"; fi
END
status=0
run 60 unshare -m --propagation private bash "$WORK/as_user.sh" "$WORK/users" > "$WORK/out" 2>&1 || status=$?
if (( status == 77 )); then
  echo "   left out: nobody cannot open a device in $WORK"
else
  (( status == 0 )) || fail "as a user: exit status $status: $(cat "$WORK/out")"
  while read -r word options; do
    case $word in
      asked: | default:) [[ ,$options, == *,nosuid,* && ,$options, == *,nodev,* ]] ||
        fail "a user's mount ($word): expected nosuid and nodev, saw $options" ;;
    esac
  done < "$WORK/out"
  expect_eq "a user's mount" "$(id -u nobody)
NoNewPrivs:1
Seccomp:2" "$(grep -vE '^(asked|default):' "$WORK/out")"
  grep -q '^default:' "$WORK/out" || fail "a user's mount was not seen: $(cat "$WORK/out")"
fi

step "bytes at random"
head -c 8M /dev/urandom > "$WORK/random"
for verb in "mount $WORK/random $mnt" "check $WORK/random" "ls $WORK/random" "get $WORK/random key" "dump $WORK/random -o $WORK/out.tar"; do
  status=0
  # shellcheck disable=SC2086  # words
  run 30 "$LRUFS" $verb > "$WORK/out" 2>&1 || status=$?
  (( status == 1 || status == 2 )) || fail "lrufs $verb: expected exit status 1 or 2, saw $status: $(cat "$WORK/out")"
  is_unmounted "$mnt" || fail "random bytes were mounted"
done
cat > "$WORK/hurt.py" << 'END'
import random, subprocess, sys
lrufs, store, hurt, seed = sys.argv[1:]
rng = random.Random(int(seed))
with open(store, "rb") as file:
    whole = file.read()
for _ in range(12):
    data = bytearray(whole)
    for _ in range(rng.choice([1, 10, 300])):
        at = rng.randrange(4096 * 64) if rng.random() < 0.7 else rng.randrange(len(data))
        data[at:at + 8] = rng.randbytes(8)
    with open(hurt, "wb") as file:
        file.write(data)
    for verb in (["check", hurt], ["dump", hurt, "-o", hurt + ".tar"], ["ls", "-lR", hurt]):
        status = subprocess.run([lrufs, *verb], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60).returncode
        assert status in (0, 1, 2), f"lrufs {verb}: exit status {status}"
END
seed=${LRUFS_TEST_SEED:-$RANDOM}
echo "seed: LRUFS_TEST_SEED=$seed"
run 120 python3 "$WORK/hurt.py" "$LRUFS" "$store" "$WORK/hurt.lrufs" "$seed" || fail "a hurt store (seed $seed)"
verify_store "$store"
step "passed"
