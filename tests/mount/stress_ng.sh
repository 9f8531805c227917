#!/usr/bin/env bash
# ctest: timeout=900 long
# stress-ng's stressors of the class "filesystem", two of each kind for two seconds, with its own verification. Left out:
# those that do not touch the folder they are given (bind-mount, binderfs, eventfd, ioprio, procfs). Afterwards the folder
# can be emptied, the mount answers, and the store is sound. (Eviction takes files away that a stressor has just made, which
# its verification takes for a fault, so the store has room.)
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
need stress-ng

store=$WORK/store.lrufs
mnt=$WORK/mnt
elsewhere=bind-mount,binderfs,eventfd,ioprio,procfs

log=$WORK/stress.log
mount_store "$store" "$mnt" --size 4G
mkdir -p "$mnt/stress"
step "stress"
if ! run 700 stress-ng --temp-path "$mnt/stress" --class filesystem --exclude "$elsewhere" --sequential 2 --timeout 2s --verify \
  --metrics-brief > "$log" 2>&1; then
  grep -E 'fail|error|abort|kill' "$log" | head -n 40 >&2
  tail -n 5 "$log" >&2
  fail "stress-ng: expected success, saw $(grep -c 'fail:' "$log") failures"
fi
# Where all were skipped nothing was shown.
ran=$(awk '$2 == "metrc:" && $5 ~ /^[0-9]+$/ && $6 ~ /^[0-9.]+$/' "$log" | wc -l)
(( ran >= 30 )) || fail "stress-ng: expected at least 30 stressors that ran, saw $ran"
if on_lrufs; then
  expect_eq "requests that failed for a fault of the store" 0 \
    "$(run 20 "$LRUFS" stat --json "$mnt" | python3 -c 'import json, sys; print(json.load(sys.stdin)["failures"])')"
fi
step "emptied"
run 120 find "$mnt/stress" -mindepth 1 -delete
expect_eq "what is left" "" "$(run 20 find "$mnt/stress" -mindepth 1)"
step "remount"
remount_store "$store" "$mnt" --size 4G
check_store "$store" "$mnt"
step "passed"
