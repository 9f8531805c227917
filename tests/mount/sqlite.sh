#!/usr/bin/env bash
# ctest: timeout=300
# sqlite3 in rollback and in WAL mode: databases are made, changed by two processes at once, a writer is killed in the
# middle, and at last the daemon: every commit that was acknowledged is there, integrity_check says ok. Needs byte-range
# locks between processes, fsync, truncation, and (WAL) shared maps that are coherent with reads and writes.
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
need sqlite3

store=$WORK/store.lrufs
mnt=$WORK/mnt

sql() {  # sql DATABASE STATEMENTS
  run 60 sqlite3 -batch -bail -cmd '.timeout 30000' "$1" "$2"
}
sound() {  # sound DATABASE WHEN
  expect_eq "integrity_check of ${1##*/} ($2)" ok "$(sql "$1" 'PRAGMA integrity_check;')"
}

# A stream of transactions, one row each; the row's number is printed once its commit has returned.
transactions() {  # transactions WHO FIRST LAST
  local n
  echo '.timeout 30000'
  # WAL is kept in the file, the others belong to the connection.
  [[ $mode == wal ]] || printf '.output /dev/null\nPRAGMA journal_mode = %s;\n.output stdout\n' "$mode"
  for (( n = $2; n <= $3; n++ )); do
    echo "BEGIN IMMEDIATE; INSERT INTO log VALUES('$1', $n, randomblob(300 + $n % 3000)); UPDATE sums SET total = total + $n; COMMIT; SELECT $n;"
  done
}
write_transactions() {  # write_transactions DATABASE WHO FIRST LAST ACKNOWLEDGED
  transactions "$2" "$3" "$4" | sqlite3 -batch -bail "$1" > "$5" 2> "$5.errors"
}
acknowledged() { (( $(wc -l < "$1") >= $2 )); }
# Every acknowledged row is there, and the sum is the rows'.
all_there() {  # all_there DATABASE WHO ACKNOWLEDGED WHEN
  local last rows
  last=$(tail -n 1 "$3")
  rows=$(sql "$1" "SELECT count(*) FROM log WHERE who = '$2' AND n <= $last;")
  expect_eq "rows of $2 up to the last acknowledged ($4)" "$(wc -l < "$3")" "$rows"
  expect_eq "sum of all rows ($4)" "$(sql "$1" 'SELECT sum(n) FROM log;')" "$(sql "$1" 'SELECT total FROM sums;')"
}

mount_store "$store" "$mnt" --size 1G
for mode in delete truncate persist wal; do
  db=$mnt/$mode.db
  step "$mode: create and read"
  expect_eq "journal_mode" "$mode" "$(sql "$db" "PRAGMA journal_mode = $mode;")"
  sql "$db" "PRAGMA journal_mode = $mode; CREATE TABLE log(who TEXT, n INTEGER, data BLOB); CREATE TABLE sums(total INTEGER);
    INSERT INTO sums VALUES(0); CREATE TABLE big(k INTEGER PRIMARY KEY, v TEXT); CREATE INDEX by_n ON log(who, n);
    WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)
      INSERT INTO big SELECT x, 'value ' || x FROM c;" > /dev/null
  expect_eq "rows" 20000 "$(sql "$db" 'SELECT count(*) FROM big;')"
  expect_eq "a row" 'value 12345' "$(sql "$db" 'SELECT v FROM big WHERE k = 12345;')"
  sql "$db" 'BEGIN; DELETE FROM big WHERE k % 2; ROLLBACK; DELETE FROM big WHERE k % 3 = 0; VACUUM;'
  expect_eq "rows after rollback, delete and vacuum" 13334 "$(sql "$db" 'SELECT count(*) FROM big;')"
  sound "$db" "created"

  step "$mode: two processes"
  write_transactions "$db" one 1 150 "$WORK/one" &
  first=$!
  write_transactions "$db" two 1 150 "$WORK/two" &
  second=$!
  wait "$first" || fail "first writer ($mode): $(cat "$WORK/one.errors")"
  wait "$second" || fail "second writer ($mode): $(cat "$WORK/two.errors")"
  all_there "$db" one "$WORK/one" "two processes"
  all_there "$db" two "$WORK/two" "two processes"
  expect_eq "rows of both" 300 "$(sql "$db" 'SELECT count(*) FROM log;')"
  sound "$db" "two processes"

  step "$mode: kill -9 a writer while another one writes"
  transactions killed 1 100000 > "$WORK/statements"
  sqlite3 -batch -bail "$db" < "$WORK/statements" > "$WORK/killed" 2> "$WORK/killed.errors" &
  victim=$!
  write_transactions "$db" other 1 100 "$WORK/other" &
  other=$!
  wait_for "40 commits of the process to kill" 60 acknowledged "$WORK/killed" 40
  kill -KILL "$victim"
  wait "$victim" 2> /dev/null || true
  wait "$other" || fail "the other writer ($mode): $(cat "$WORK/other.errors")"
  all_there "$db" killed "$WORK/killed" "after kill -9 of a writer"
  all_there "$db" other "$WORK/other" "after kill -9 of another writer"
  sound "$db" "after kill -9 of a writer"
  sql "$db" "INSERT INTO log VALUES('later', 0, NULL);"

  if on_lrufs; then
    step "$mode: kill -9 the daemon"
    # Before the writer begins: it has the lock nearly all the time, and sqlite's waiting is not fair.
    sql "$db" "DELETE FROM log WHERE who = 'killed'; UPDATE sums SET total = (SELECT sum(n) FROM log);"
    sqlite3 -batch -bail "$db" < "$WORK/statements" > "$WORK/daemon" 2> "$WORK/daemon.errors" &
    writer=$!
    wait_for "40 commits before the kill" 60 acknowledged "$WORK/daemon" 40
    kill_daemon "$store" "$mnt"
    ! wait "$writer" || fail "the writer without a daemon: expected errors, saw success"
    verify_store "$store"
    mount_store "$store" "$mnt" --size 1G
    sound "$db" "after kill -9 of the daemon"
    last=$(tail -n 1 "$WORK/daemon")
    seen=$(sql "$db" "SELECT count(*) FROM log WHERE who = 'killed' AND n BETWEEN $((last - 39)) AND $last;")
    expect_eq "the last 40 acknowledged commits ($mode, after kill -9 of the daemon)" 40 "$seen"
    expect_eq "sum" "$(sql "$db" 'SELECT sum(n) FROM log;')" "$(sql "$db" 'SELECT total FROM sums;')"
  fi
done
step "remount"
for mode in delete truncate persist wal; do sql "$mnt/$mode.db" .dump | sha256sum > "$WORK/$mode.before"; done
remount_store "$store" "$mnt" --size 1G
for mode in delete truncate persist wal; do
  sound "$mnt/$mode.db" "after remount"
  expect_eq "dump of $mode after remount" "$(cat "$WORK/$mode.before")" "$(sql "$mnt/$mode.db" .dump | sha256sum)"
done
check_store "$store" "$mnt"
step "passed"
