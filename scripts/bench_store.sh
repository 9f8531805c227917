#!/usr/bin/env bash
# The store against LMDB, RocksDB, persistent-cache-cpp and the plain file system, in one run on one disk.
#   scripts/bench_store.sh [--row hot|sync|full|big|amplification|space|large]... [--small] [--json FILE]
# Builds the preset `bench` (scripts/setup.sh --bench installs the peers), prints a Markdown table, and writes the
# figures to FILE (default: build/bench/store_bench.json), of which scripts/plot_bench.py draws docs/performance.svg.
# LRUFS_BENCH_DIR is a folder on the disk to measure (default: build/bench). 24 GiB free there, 8 GiB of memory.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
json=$root/build/bench/store_bench.json
arguments=()
while (( $# > 0 )); do
  case $1 in
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --json) json=$(realpath -m "${2:?--json FILE}"); shift 2 ;;
    --row) arguments+=(--row "${2:?--row NAME}"); shift 2 ;;
    --small) arguments+=(--small); shift ;;
    *) echo "bench_store.sh: unknown argument '$1' (--help)" >&2; exit 2 ;;
  esac
done

cd "$root"
cmake --preset bench > /dev/null
cmake --build --preset bench --target bench_store_bench >&2
mkdir -p "${LRUFS_BENCH_DIR:-build/bench}" "$(dirname "$json")"
work=$(mktemp -d "$(readlink -f "${LRUFS_BENCH_DIR:-build/bench}")/store-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

timeout 7200 build/bench/tests/bench/store_bench "${arguments[@]}" "$work" > "$json.new"
mv "$json.new" "$json"
python3 scripts/plot_bench.py --table "$json"
echo
echo "$(git describe --always --dirty 2> /dev/null || echo 'no git'); Linux $(uname -r), $(nproc) cores of" \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)" \
  "of memory, $(findmnt -n -o FSTYPE -T "$root" 2> /dev/null || stat -f -c %T "$root")."
