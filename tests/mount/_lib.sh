# shellcheck shell=bash
# Shared by the shell tests in this folder; a test starts with
#     # ctest: timeout=120
#     . "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
# and then has $LRUFS (the program), $WORK (its own temporary folder, removed at the end) and the functions below.
# LRUFS_TEST_DIR=/some/dir runs a test there, on a plain directory: mounts, unmounts and checks are no-ops, so that the
# test itself can be shown to be right. LRUFS_TEST_KEEP=1 keeps $WORK.
#
# Nothing survives a test: _cleanup.sh runs on EXIT, and beside the test in case it is killed or hangs; its deadline
# is the test's own "ctest: timeout" less 20 s. Commands that touch a mount go through `run SECONDS ...`.
set -euo pipefail

TESTS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# The project's sources.
SOURCE_DIR=${LRUFS_SOURCE_DIR:-$(cd "$TESTS_DIR/../.." && pwd -P)}
TEST_NAME=$(basename "$0")
TEST_NAME=${TEST_NAME%.*}
LRUFS=$(readlink -f "${LRUFS:-$SOURCE_DIR/build/release/lrufs}" || true)
export LRUFS

skip() { echo "SKIP: $*"; exit 77; }

# Is the test on a real mount?
on_lrufs() { [[ -z ${LRUFS_TEST_DIR:-} ]]; }

if on_lrufs; then
  [[ -r /dev/fuse && -w /dev/fuse ]] || skip "no /dev/fuse"
  [[ -x $LRUFS ]] || { echo "FAIL: no program at '$LRUFS' (LRUFS=...)" >&2; exit 1; }
fi

_parent=${LRUFS_TEST_DIR:-${TMPDIR:-/tmp}}
WORK=$(mktemp -d "$(readlink -f "$_parent")/lrufs-test.$TEST_NAME.XXXXXX")
# Daemons log here; fail shows its end.
DAEMON_LOG=$WORK/daemon.log

_timeout=$(sed -n '1,10s/^# *ctest:.*timeout=\([0-9]*\).*/\1/p' "$0")
_deadline=$(( ${_timeout:-600} - 20 ))
# In a session (and process group, $_watch) of its own and no child of ours: who kills the test's tree misses it.
# shellcheck disable=SC2016  # expanded by the inner shell
_watch=$(setsid bash -c 'exec 3>&2; "$0" "$@" > /dev/null 2>&3 3>&- < /dev/null & echo $$' \
  "$TESTS_DIR/_cleanup.sh" "$WORK" $$ "$_deadline")

_on_exit() {
  local status=$? children
  trap '' INT TERM HUP
  trap - EXIT
  # Children of the test that still run (writers in the background).
  children=$(jobs -p)
  # shellcheck disable=SC2086  # a list of process ids
  if [[ -n $children ]]; then kill -KILL $children 2> /dev/null || true; fi
  # Another worker would have taken over, and hidden it.
  if (( status == 0 )) && grep -s "the worker was ended by" "$DAEMON_LOG"; then
    echo "FAIL: expected that no worker dies" >&2
    status=1
  fi
  "$TESTS_DIR/_cleanup.sh" "$WORK" || true
  kill -KILL -- "-$_watch" 2> /dev/null || true
  exit "$status"
}
trap _on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# fail WHAT: ends the test. Say what was expected and what was seen.
fail() {
  echo "FAIL: $*" >&2
  echo "  at ${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]} in ${FUNCNAME[1]:-main}" >&2
  if [[ -s $DAEMON_LOG ]]; then
    echo "  the end of the daemon's log:" >&2
    tail -n 25 "$DAEMON_LOG" | sed 's/^/    /' >&2
  fi
  exit 1
}
trap 'echo "FAIL: ${BASH_SOURCE[0]##*/}:$LINENO: exit status $? of: $BASH_COMMAND" >&2' ERR
set -E

# step WHAT: progress, with the seconds so far.
step() { echo "== $SECONDS s: $*"; }

# need TOOL...: skips the test where one is missing.
need() {
  local tool
  for tool; do command -v "$tool" > /dev/null || skip "no $tool"; done
}
is_root() { (( $(id -u) == 0 )); }

# run SECONDS COMMAND...: an external command that must not take longer.
run() {
  local status=0
  timeout -k 5 "$@" || status=$?
  if (( status == 124 || status == 137 )); then
    echo "TIMEOUT after $1 s: ${*:2}" >&2
  fi
  return "$status"
}

# wait_for WHAT SECONDS CONDITION...: until the condition (a command or function) holds.
wait_for() {
  local what=$1 seconds=$2 end
  shift 2
  end=$(( $(date +%s%N) + seconds * 1000000000 ))
  until "$@"; do
    if (( $(date +%s%N) > end )); then fail "expected within $seconds s: $what. Not seen (condition: $*)"; fi
    sleep 0.02
  done
}

expect_eq() {  # expect_eq WHAT EXPECTED SEEN
  [[ $2 == "$3" ]] || fail "$1: expected '$2', saw '$3'"
}

is_mounted() {  # is_mounted MNT: as the kernel says, without touching the mount
  wanted=$1 awk '{ gsub(/\\040/, " ", $5) } $5 == ENVIRON["wanted"] { found = 1 } END { exit !found }' \
    /proc/self/mountinfo
}
is_unmounted() { ! is_mounted "$1"; }

# daemon_pids STORE: the ids of the processes that serve this store.
daemon_pids() {
  local proc argument arguments
  # One process for all: this is asked often.
  for proc in $(find /proc -maxdepth 2 -path '/proc/[0-9]*/exe' -lname "$LRUFS*" -printf '%h\n' 2> /dev/null || true); do
    arguments=()
    while IFS= read -r -d '' argument; do arguments+=("$argument"); done 2> /dev/null < "$proc/cmdline" || continue
    if [[ ${arguments[1]:-} == mount && " ${arguments[*]} " == *" $1 "* ]]; then echo "${proc#/proc/}"; fi
  done
}
# is_gone PID: no thread of it runs any longer (a zombie may have threads that do, and with them open files).
is_gone() {
  local states
  states=$(sed 's/.*) //; s/ .*//' /proc/"$1"/task/*/stat 2> /dev/null || true)
  [[ $states != *[!ZX[:space:]]* ]]
}
no_daemon() { [[ -z $(daemon_pids "$1") ]]; }

# mount_store STORE MNT [OPTION...]: mounts in the background. DAEMON is the process id of `lrufs mount`.
DAEMON=
mount_store() {
  local store=$1 mnt=$2
  shift 2
  mkdir -p "$mnt"
  on_lrufs || return 0
  run 30 "$LRUFS" mount --log "$DAEMON_LOG" "$@" "$store" "$mnt" > "$WORK/mount.out" 2>&1 ||
    fail "lrufs mount $* $store $mnt: expected exit status 0, saw $?: $(cat "$WORK/mount.out")"
  is_mounted "$mnt" || fail "lrufs mount returned 0, but $mnt is no mount: $(cat "$WORK/mount.out")"
  DAEMON=$(daemon_pids "$store")
  [[ $DAEMON =~ ^[0-9]+$ ]] || fail "expected one daemon for $store, saw the process ids '$DAEMON'"
}

# umount_store STORE MNT: by `lrufs umount`, which returns when the store is closed.
umount_store() {
  local store=$1 mnt=$2
  on_lrufs || return 0
  run 120 "$LRUFS" umount "$mnt" > "$WORK/umount.out" 2>&1 ||
    fail "lrufs umount $mnt: expected exit status 0, saw $?: $(cat "$WORK/umount.out")"
  is_unmounted "$mnt" || fail "lrufs umount returned 0, but $mnt is still mounted"
  # The daemon closes the store before umount returns; the process itself may take a moment to end.
  wait_for "the daemon of $store ends" 10 no_daemon "$store"
}

# remount_store STORE MNT [OPTION...]
remount_store() {
  umount_store "$1" "$2"
  mount_store "$@"
}

# kill_daemon STORE MNT: SIGKILL, and the dead mount is detached.
kill_daemon() {
  on_lrufs || return 0
  local pid workers
  for pid in $(daemon_pids "$1"); do
    workers=$(cat "/proc/$pid/task/$pid/children" 2> /dev/null || true)
    kill -KILL "$pid"
    for pid in "$pid" $workers; do wait_for "the killed daemon's process $pid is gone" 30 is_gone "$pid"; done
  done
  run 20 umount -l "$2" 2> /dev/null || run 20 fusermount3 -uz "$2"
}

# verify_store STORE: `lrufs check` finds nothing.
verify_store() {
  on_lrufs || return 0
  run 300 "$LRUFS" check "$1" > "$WORK/check.out" 2>&1 ||
    fail "lrufs check $1: expected exit status 0, saw $?: $(head -n 40 "$WORK/check.out")"
}

# check_store STORE MNT: unmounts, and `lrufs check` finds nothing. The end of every test.
check_store() {
  on_lrufs || return 0
  if is_mounted "$2"; then umount_store "$1" "$2"; fi
  verify_store "$1"
}
