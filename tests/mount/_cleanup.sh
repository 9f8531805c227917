#!/usr/bin/env bash
# Ends what a mount test left behind below its own temporary folder WORK: daemons, mounts, files. Safe to run twice.
#   _cleanup.sh WORK                 now
#   _cleanup.sh WORK PID SECONDS     when process PID (the test) has ended, or SECONDS have passed; then PID goes, too
# The second form runs beside each test, in a session of its own, so that a test that is killed or that hangs in the
# kernel leaves nothing. Mounts are taken by their full path below WORK, processes by their id: lrufs daemons by an
# argument that starts with WORK. A test that starts other things puts a script that ends them at WORK/.cleanup.
# LRUFS_TEST_KEEP=1 keeps the files.
set -u

work=$1
case "$work" in
  /*/lrufs-test.*) ;;
  *) echo "_cleanup.sh: '$work' is not a test's folder" >&2; exit 2 ;;
esac

if (( $# == 3 )); then
  if ! timeout "$3" tail --pid="$2" -f /dev/null; then
    echo "FAIL: not done after $3 s: ending the daemon and the test (process $2)" >&2
    late=$2
  fi
fi

# Mount points below $work, the newest first.
mounts() {
  local path
  while read -r _ _ _ _ path _; do
    path=$(printf '%b' "$path")
    if [[ $path == "$work"/* ]]; then printf '%s\n' "$path"; fi
  done < /proc/self/mountinfo | tac
}

# What only the test knows how to end, such as containers.
if [[ -x $work/.cleanup ]]; then timeout 120 "$work/.cleanup" > /dev/null 2>&1; fi

# Daemons first: when the last one is gone, nobody hangs in the kernel any longer.
for proc in /proc/[0-9]*; do
  exe=$(readlink "$proc/exe" 2> /dev/null) || continue
  exe=${exe% (deleted)}
  if [[ ${exe##*/} != lrufs && $exe != "$(readlink -f "${LRUFS:-lrufs}")" ]]; then continue; fi
  while IFS= read -r -d '' argument; do
    if [[ $argument == "$work"/* ]]; then
      kill -KILL "${proc#/proc/}" 2> /dev/null
      break
    fi
  done 2> /dev/null < "$proc/cmdline"
done
# A daemon that was killed while one of its threads waits in the kernel (for a folder's lock, say) keeps its connection open,
# and who waits for it can never end: abort the connections. fusectl shows each by the minor number of its device.
if (( $(id -u) == 0 )) && [[ -n $(mounts) ]]; then
  control=/sys/fs/fuse/connections own=
  if [[ -z $(ls -A "$control" 2> /dev/null) ]]; then
    control=$work/.fusectl own=1
    mkdir -p "$control" && mount -t fusectl fusectl "$control"
  fi
  while read -r _ _ device _ path _; do
    path=$(printf '%b' "$path")
    if [[ $path == "$work"/* && -w $control/${device#*:}/abort && $device == 0:* && $path != "$control" ]]; then
      echo 1 > "$control/${device#*:}/abort"
    fi
  done < /proc/self/mountinfo
  if [[ -n $own ]]; then umount "$control" && rmdir "$control"; fi
fi
while IFS= read -r path; do
  timeout 20 umount -l "$path" 2> /dev/null || timeout 20 fusermount3 -uz "$path" 2> /dev/null ||
    echo "_cleanup.sh: cannot unmount $path" >&2
done < <(mounts)
if [[ -n ${late:-} ]]; then
  kill -TERM "$late" 2> /dev/null
  timeout 10 tail --pid="$late" -f /dev/null || kill -KILL "$late" 2> /dev/null
fi
if [[ -z ${LRUFS_TEST_KEEP:-} && -z $(mounts) && -d $work ]]; then
  chmod -R u+rwX "$work" 2> /dev/null
  # Loop devices of tests (small disks) have to be detached by the test; files that vanish meanwhile are no error.
  rm -rf --one-file-system "$work" 2> /dev/null || rm -rf --one-file-system "$work"
fi
