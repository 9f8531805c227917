#!/usr/bin/env bash
# Build lrufs, mount a store, show that it works, and leave it mounted.
#   scripts/run.sh [STORE] [MOUNTPOINT]
# Defaults: ~/.cache/lrufs/cache.lrufs and ~/lrufs. LRUFS_SIZE (default 1G) bounds a new store.
set -euo pipefail

usage() { sed -n '2,4s/^# \{0,1\}//p' "$0"; }
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
if (( $# > 2 )); then usage >&2; exit 2; fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
HOME=${HOME:-$(unset HOME; echo ~)}

# The path as the kernel shows it: absolute, no links. A dead mount cannot be looked at, its parent can.
absolute() {
  local folder
  realpath -m -- "$1" 2> /dev/null && return
  folder=$(realpath -m -- "$(dirname -- "$1")")
  printf '%s/%s\n' "${folder%/}" "$(basename -- "$1")"
}
store=$(absolute "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/lrufs/cache.lrufs}")
mountpoint=$(absolute "${2:-$HOME/lrufs}")
lrufs=$root/build/release/lrufs

# The type and source of the mount at $mountpoint (the last one is on top); nothing when there is none.
mounted() {
  local path=$mountpoint
  path=${path//\\/\\134}
  path=${path// /\\040}
  path=${path//$'\t'/\\011}
  path=${path//$'\n'/\\012}
  wanted=$path awk '$5 == ENVIRON["wanted"] {
    for (i = 7; i <= NF; i++) if ($i == "-") { type = $(i + 1); break }
  } END { if (type != "") print type }' /proc/self/mountinfo
}

# shell-quoted, for the commands that are printed
q() { printf '%q' "$1"; }

type=$(mounted)
if [[ $type == fuse.lrufs ]]; then
  if answer=$(LC_ALL=C stat -f -- "$mountpoint" 2>&1); then
    echo "Already mounted: $mountpoint"
    echo "Unmount with:    $(q "$lrufs") umount $(q "$mountpoint")"
    exit 0
  elif [[ $answer == *"not connected"* ]]; then
    echo "Stale mount at $mountpoint (its daemon is gone): detaching it"
    umount -l -- "$mountpoint" 2> /dev/null || fusermount3 -u -z -- "$mountpoint"
  else
    echo "run.sh: $mountpoint does not answer: $answer" >&2
    exit 1
  fi
elif [[ -n $type ]]; then
  echo "run.sh: something else ($type) is mounted at $mountpoint" >&2
  exit 1
fi

"$root/scripts/setup.sh" --build-only

log=$root/build/run.log
mkdir -p -- "$root/build"
echo "Building (log: $log) ..."
if ! (cd "$root" && cmake --preset release && cmake --build --preset release --target lrufs) > "$log" 2>&1; then
  tail -n 30 -- "$log" >&2
  echo "run.sh: the build failed, see $log" >&2
  exit 1
fi

mkdir -p -- "$(dirname -- "$store")" "$mountpoint"
"$lrufs" mount --size "${LRUFS_SIZE:-1G}" "$store" "$mountpoint"

probe=$mountpoint/hello.txt
echo "Hello from lrufs" > "$probe"
echo
echo "\$ echo 'Hello from lrufs' > $(q "$probe"); cat $(q "$probe")"
cat -- "$probe"
echo "\$ df -h $(q "$mountpoint")"
df -h -- "$mountpoint"
echo
echo "Mounted:      $mountpoint"
echo "Store:        $store"
echo "Unmount with: $(q "$lrufs") umount $(q "$mountpoint")"
