#!/usr/bin/env bash
# ctest: timeout=120
# lrufs top: for scripts (--once, --json), and on a terminal, with its keys, that changes its size.
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
need tmux jq

STORE=$WORK/s.lrufs
MNT=$WORK/mnt
mount_store "$STORE" "$MNT" --size 32M --recency 0
mkdir "$MNT/dir"
for i in 1 2 3; do echo "$i" > "$MNT/dir/file$i"; done
echo x > "$MNT/with"$'\t'"tab"

step "--json"
run 20 "$LRUFS" top --json --interval 1s "$MNT" > "$WORK/json" &
top=$!
# Something to be seen meanwhile.
for _ in $(seq 200); do [[ -e $MNT/dir/file2 ]]; [[ -d /proc/$top ]] || break; done
while [[ -d /proc/$top ]]; do cat "$MNT/dir/file1" > /dev/null; done
wait "$top" || fail "lrufs top --json: $(cat "$WORK/json")"
jq -e '.hits_per_second > 0 and .hit_ratio > 0 and .requests_per_second > 0 and .seconds >= 1' "$WORK/json" > /dev/null ||
  fail "figures: $(cat "$WORK/json")"
jq -e '[.requests[].kind] | index("lookup") != null' "$WORK/json" > /dev/null || fail "no lookups: $(cat "$WORK/json")"
jq -e '.requests[0] | .p99_us >= .p50_us and .p50_us > 0 and .average_us > 0' "$WORK/json" > /dev/null ||
  fail "latencies: $(cat "$WORK/json")"
expect_eq "the next to go" "/dir/file3" "$(jq -r '.next[0].path' "$WORK/json")"
expect_eq "files" 4 "$(jq .files "$WORK/json")"
expect_eq "mount point" "$MNT" "$(jq -r .mount_point "$WORK/json")"

step "--once"
run 20 "$LRUFS" top --once --interval 200ms "$MNT/dir" > "$WORK/once"
for text in "lrufs top  $MNT" "Full  [" "Files       4 in 2 folders" "Next to go" "/dir/file3" '\011'; do
  grep -qF -- "$text" "$WORK/once" || fail "no '$text' in: $(cat "$WORK/once")"
done
status=0
run 20 "$LRUFS" top --once --interval 1ms "$MNT" > "$WORK/out" 2>&1 || status=$?
expect_eq "exit status for a wrong interval" 2 "$status"
status=0
run 20 "$LRUFS" top "$WORK" > "$WORK/out" 2>&1 || status=$?
expect_eq "exit status for what is no mount" 1 "$status"
grep -q "is not in a mount of lrufs" "$WORK/out" || fail "its message: $(cat "$WORK/out")"
status=0
TERM=none run 20 "$LRUFS" top "$MNT" > "$WORK/out" 2>&1 < /dev/null || status=$?
expect_eq "exit status without a terminal" 1 "$status"
grep -q "use --once or --json" "$WORK/out" || fail "its message: $(cat "$WORK/out")"

step "a terminal"
export TMUX_TMPDIR=$WORK
mux() { run 10 tmux -L lrufs-top "$@"; }
end_tmux() { tmux -L lrufs-top kill-server 2> /dev/null || true; }
trap 'status=$?; end_tmux; (exit $status); _on_exit' EXIT
page() { mux capture-pane -p -t top; }
shows() { page | grep -qF -- "$1"; }
mux -f /dev/null new-session -d -s top -x 100 -y 30 \
  "'$LRUFS' top --interval 1s '$MNT' 2> '$WORK/err'; echo \"ended \$?\" > '$WORK/ended'"
wait_for "the page" 20 shows "lrufs top  $MNT"
wait_for "the next to go" 20 shows "/dir/file3"
wait_for "the keys" 10 shows "every 1 s"
shows "sorted by rate" || fail "order: $(page)"
expect_eq "a page of 30 lines" "every 1 s" "$(page | sed -n 30p | cut -c 1-9)"
mux send-keys -t top +
wait_for "a longer interval" 10 shows "every 2 s"
mux send-keys -t top - -
wait_for "a shorter interval" 10 shows "every 500"
mux send-keys -t top s
wait_for "another order" 10 shows "sorted by 99 %"
mux send-keys -t top s
wait_for "by name" 10 shows "sorted by name"
echo 1 > "$MNT/one-more"
wait_for "a new file" 20 shows "/one-more"

step "another size"
mux resize-window -t top -x 60 -y 15
wait_for "the last line is the 15th" 20 bash -c "tmux -L lrufs-top capture-pane -p -t top | sed -n 15p | grep -q '^every'"
mux resize-window -t top -x 140 -y 50
wait_for "the last line is the 50th" 20 bash -c "tmux -L lrufs-top capture-pane -p -t top | sed -n 50p | grep -q '^every'"
mux send-keys -t top q
wait_for "it ends" 10 test -s "$WORK/ended"
expect_eq "exit status" "ended 0" "$(cat "$WORK/ended")"

step "a mount that goes away"
rm "$WORK/ended"
end_tmux
mux -f /dev/null new-session -d -s top -x 100 -y 30 \
  "'$LRUFS' top --interval 100ms '$MNT' 2> '$WORK/err'; echo \"ended \$?\" > '$WORK/ended'"
wait_for "the page" 20 shows "lrufs top  $MNT"
run 30 "$LRUFS" umount --lazy "$MNT"  # it may be looking at this moment
wait_for "the daemon ends" 30 no_daemon "$STORE"
wait_for "it ends" 20 test -s "$WORK/ended"
expect_eq "exit status" "ended 1" "$(cat "$WORK/ended")"
grep -q "does not answer any more" "$WORK/err" || fail "its message: $(cat "$WORK/err")"
end_tmux
verify_store "$STORE"
