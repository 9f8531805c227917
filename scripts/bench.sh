#!/usr/bin/env bash
# The same work side by side, in one run: the disk's own file system, tmpfs, and lrufs with its store on that same disk.
#   scripts/bench.sh [--fuse] [--clients N] [--files N] [--rounds N] [--big MIB] [--fsyncs N]
#                    [--busy N] [--quiet SECONDS] [--only TEXT]            defaults: 1, 20000, 3, 1024, 500
# --fuse: beside FUSE peers as well, each on tmpfs or in memory: passthrough_ll (built here from libfuse3-dev's examples, in
# two settings) and the floor of the protocol, tests/bench/floor_fs.cc (cmake --preset bench; target bench_floor_fs), with
# lrufs's own loop and with those of libfuse. At most 15,000 files then: passthrough_ll has one open for each.
# --clients: processes that share the work. --busy: processes that only use a core. --quiet: wait so long for a quiet machine.
# Prints a Markdown table (stdout) and what it is measured on; progress goes to stderr. LRUFS is the program (default:
# build/release/lrufs), LRUFS_BENCH_DIR a folder on the disk to measure (default: build/). Root for cold figures and a tmpfs
# of its own; 6 GiB free on the disk. LRUFS_BENCH_OPTIONS goes to `lrufs mount`.
set -euo pipefail

case "${1:-}" in
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
LRUFS=$(readlink -f "${LRUFS:-$root/build/release/lrufs}" || true)
export LRUFS
if [[ ! -x $LRUFS ]]; then
  echo "bench.sh: no program at '$LRUFS'; build it: cmake --preset release && cmake --build --preset release" >&2
  exit 1
fi
if [[ ! -r /dev/fuse ]]; then
  echo "bench.sh: no /dev/fuse" >&2
  exit 77
fi

mkdir -p "${LRUFS_BENCH_DIR:-$root/build}"
work=$(mktemp -d "$(readlink -f "${LRUFS_BENCH_DIR:-$root/build}")/lrufs-test.bench.XXXXXX")
shm=
# shellcheck disable=SC2317  # called by the trap
finish() {
  trap - EXIT
  "$root/tests/mount/_cleanup.sh" "$work"
  if [[ -n $shm ]]; then rm -rf "$shm"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free=$(df --output=avail -B1M "$work" | tail -n 1)
if (( free < 6 * 1024 )); then
  echo "bench.sh: 6 GiB needed in $work, $free MiB free (LRUFS_BENCH_DIR=...)" >&2
  exit 1
fi
c++ -std=c++20 -O2 -Wall -Wextra -o "$work/fs_bench" "$root/tests/bench/fs_bench.cc"

candidates=()
if [[ ${1:-} == --fuse ]]; then
  shift
  # Each of them: NAME PROGRAM ARGUMENTS..., in the foreground on $work/NAME.
  examples=/usr/share/doc/libfuse3-dev/examples
  read -r -a flags <<< "$(pkg-config --cflags --libs fuse3)"
  cc -O2 -w -o "$work/passthrough_ll" "$examples/passthrough_ll.c" "${flags[@]}"
  floor=${LRUFS_FLOOR:-$root/build/bench/tests/bench/floor_fs}
  [[ -x $floor ]] || { echo "bench.sh: no $floor: cmake --preset bench && cmake --build --preset bench --target bench_floor_fs" >&2; exit 1; }
  ulimit -n "$(ulimit -H -n)"
  serve() {
    local name=$1
    shift
    mkdir "$work/$name"
    "$@" > "$work/$name.log" 2>&1 &
    timeout 20 bash -c "until mountpoint -q '$work/$name'; do sleep 0.02; done" ||
      { cat "$work/$name.log" >&2; echo "bench.sh: $name does not mount" >&2; exit 1; }
    candidates+=("$name=$work/$name")
  }
  options=cache=always,timeout=86400,no_xattr,default_permissions
  for way in no_writeback writeback; do
    mkdir "$work/source-$way"
    mount -t tmpfs -o size=3G tmpfs "$work/source-$way"
    serve "passthrough_ll-$way" "$work/passthrough_ll" -f -o "source=$work/source-$way,$options,$way" "$work/passthrough_ll-$way"
  done
  for loop in single pool ours; do serve "floor-$loop" "$floor" "$loop" "$work/floor-$loop"; done
fi

mkdir "$work/disk" "$work/tmpfs" "$work/mnt"
tmpfs=$work/tmpfs
if ! mount -t tmpfs -o size=3G tmpfs "$tmpfs" 2> /dev/null; then
  shm=$(mktemp -d /dev/shm/lrufs-bench.XXXXXX)
  tmpfs=$shm
fi
disk=$(stat -f -c %T "$work/disk")
disk=$(findmnt -n -o FSTYPE -T "$work/disk" 2> /dev/null || echo "$disk")

read -r -a options <<< "${LRUFS_BENCH_OPTIONS:-}"
mount_it() { timeout 60 "$LRUFS" mount --size 4G --log "$work/daemon.log" "${options[@]}" "$work/store.lrufs" "$work/mnt"; }
mount_it
# For cold figures the store is closed and opened again, so that nothing of it stays in the daemon's map.
remount="timeout 60 '$LRUFS' umount '$work/mnt' && timeout 60 '$LRUFS' mount --size 4G --log '$work/daemon.log' ${options[*]} '$work/store.lrufs' '$work/mnt'"

timeout 3600 "$work/fs_bench" "$@" --cold "lrufs=$remount" "$disk=$work/disk" "tmpfs=$tmpfs" "${candidates[@]}" "lrufs=$work/mnt"
echo
echo "$("$LRUFS" --version 2>&1 | head -n 1); Linux $(uname -r), $(nproc) cores of" \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)" \
  "of memory, $disk. Medians of the rounds; below 1 in the last columns, lrufs is faster."
timeout 60 "$LRUFS" umount "$work/mnt"
for candidate in "${candidates[@]}"; do timeout 20 umount "${candidate#*=}"; done
timeout 300 "$LRUFS" check "$work/store.lrufs" > /dev/null
