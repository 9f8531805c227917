#!/usr/bin/env bash
# Walk a tree of many small files, with all of the kernel's caches cold, on lrufs and on the disk's own file system: the same
# tree, side by side, on the same disk. As root. Prints seconds; each figure is the median of the rounds.
#   scripts/bench_tree.sh [--files N] [--rounds N] [--dir FOLDER] [--build FOLDER]
#     --files N       how many (default: 1000000), 1,000 a folder, of some 100 bytes
#     --rounds N      (default: 3)
#     --dir FOLDER    on the disk that is to be measured (default: build/bench-tree); nothing is left there
#     --build FOLDER  where lrufs and tests/tools/fill_store are (default: build/release)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
files=1000000 rounds=3 dir=$root/build/bench-tree build=$root/build/release
while (( $# )); do
  case "$1" in
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --files | --rounds | --dir | --build) declare "${1#--}=$2"; shift 2 ;;
    *) echo "bench_tree.sh: $1? See --help" >&2; exit 2 ;;
  esac
done
if (( $(id -u) != 0 )); then echo "bench_tree.sh: run it as root: it drops the kernel's caches" >&2; exit 1; fi
mkdir -p "$dir"
work=$(mktemp -d "$dir/run.XXXXXX")
finish() {
  "$build/lrufs" umount "$work/lrufs" > /dev/null 2>&1 || umount -l "$work/lrufs" 2> /dev/null || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT

mkdir "$work/lrufs" "$work/disk"
"$build/tests/tools/fill_store" "$work/store.lrufs" $((files * 2048 + (64 << 20))) "$files" > /dev/null
"$build/lrufs" mount "$work/store.lrufs" "$work/lrufs"
cp -r "$work/lrufs/." "$work/disk/"
"$build/lrufs" umount "$work/lrufs"

# cold SECONDS_FILE COMMAND...: with nothing in memory, of lrufs neither: it is mounted anew.
cold() {
  local into=$1
  shift
  sync
  echo 3 > /proc/sys/vm/drop_caches
  if [[ $1 == lrufs ]]; then "$build/lrufs" mount "$work/store.lrufs" "$work/lrufs"; fi
  local start=$EPOCHREALTIME
  (cd "$work/$1" && "${@:2}" > /dev/null)
  local end=$EPOCHREALTIME
  echo $(( (${end/./} - ${start/./}) / 1000 )) >> "$into"
  if [[ $1 == lrufs ]]; then "$build/lrufs" umount "$work/lrufs"; fi
}
median() { sort -n "$1" | awk '{ a[NR] = $1 } END { printf "%.2f", a[int((NR + 1) / 2)] / 1000 }'; }

declare -A command=([find]="find ." [ls]="ls -lR ." [du]="du -s .")
for (( round = 0; round < rounds; ++round )); do
  for name in find ls du; do
    # shellcheck disable=SC2086  # words
    for where in disk lrufs; do cold "$work/$name.$where" "$where" ${command[$name]}; done
  done
done
echo "| $files files, cold | $(stat -f -c %T "$work/disk") | lrufs | ratio |"
echo "|---|---|---|---|"
for name in find ls du; do
  a=$(median "$work/$name.disk") b=$(median "$work/$name.lrufs")
  echo "| \`${command[$name]}\` | $a s | $b s | $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", b / a }') |"
done
