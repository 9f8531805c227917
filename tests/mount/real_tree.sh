#!/usr/bin/env bash
# ctest: timeout=600
# A real source tree of over 5,000 files, copied in by cp -a, by tar and by rsync: the same content, checksums and
# metadata (mode, owner, mtime with its nanoseconds, symlink targets, hard links, xattrs, ACLs), before and after a
# remount; a second rsync copies nothing. One bit that differs anywhere makes it fail: the listings are compared whole.
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
need rsync setfattr setfacl tar diff

store=$WORK/store.lrufs
mnt=$WORK/mnt
src=$WORK/src
minimum=5000

# --- the tree: what this machine has, and every kind of thing that it may not have ---------------------------------
step "the tree"
mkdir "$src"
count_files() { find "$src" -type f -printf . | wc -c; }
for folder in /usr/include /usr/share/doc /usr/share/zoneinfo /usr/share/perl /usr/lib/python3 /usr/share/man; do
  missing=$((minimum + 300 - $(count_files)))
  if [[ -d $folder ]] && (( missing > 0 )); then
    # No huge files: this test is about many. Folders come along with what is in them.
    (cd / && find "${folder#/}" \( -type f -size -1024k -o -type l \) -print0 | LC_ALL=C sort -z) > "$WORK/all"
    head -z -n "$missing" "$WORK/all" > "$WORK/list"
    rsync -a --from0 --files-from="$WORK/list" / "$src/"
  fi
done
for (( i = $(count_files); i < minimum; i++ )); do
  folder=$src/made/$((i / 200))
  mkdir -p "$folder"
  head -c $((i * 7 % 20000)) /dev/urandom > "$folder/file$i"
done
odd=$src/odd
mkdir -p "$odd/hard" "$odd/empty" "$odd/special" "$odd/ with space"
for size in 0 1 1023 1024 1025 4095 4096 4097 100000 3000001; do head -c "$size" /dev/urandom > "$odd/size$size"; done
ln "$odd/size1" "$odd/hard/one"
ln "$odd/size1" "$odd/hard/another"
ln "$odd/size100000" "$odd/ with space/hard"
ln -s nowhere "$odd/dangling"
ln -s ../odd/size1 "$odd/link"
ln -s "$(printf 'x%.0s' {1..3000})" "$odd/long link"
ln "$odd/dangling" "$odd/hard/symlink" 2> /dev/null || true
printf 'x' > "$odd/$(printf 'n%.0s' {1..255})"
printf 'x' > "$odd/"$'new\nline\ttab\x01\xff'
mkfifo -m 0600 "$odd/special/fifo"
for mode in 0000 0400 0755 1644 2755 4755 6711; do echo "$mode" > "$odd/mode$mode"; chmod "$mode" "$odd/mode$mode"; done
touch -d '1969-12-31 12:00:00.123456789 UTC' "$odd/size1023"
touch -d '2106-03-01 00:00:00.999999999 UTC' "$odd/size1024"
touch -d '2001-09-09 01:46:40.000000001 UTC' "$odd/empty"
truncate -s 50M "$odd/sparse"
printf 'island' | dd of="$odd/sparse" bs=1 seek=20M conv=notrunc status=none
setfattr -n user.test -v 'a value' "$odd/size4096"
setfattr -n user.on_folder -v 0x00ff00 "$odd/hard"
if is_root; then
  mknod "$odd/special/char" c 7 300
  mknod "$odd/special/block" b 300 7
  chown 1234:5678 "$odd/size4097" "$odd/empty"
  chown -h 4321:8765 "$odd/link"
  setfattr -n trusted.test -v 'trusted value' "$odd/size4095"
  setfacl -m u:65534:rw,g:777:r "$odd/size4096"
  setfacl -d -m u:65534:rwx "$odd/hard"
fi
files=$(count_files)
(( files > minimum )) || fail "the tree: expected over $minimum files, saw $files"
echo "$files files, $(find "$src" -type d | wc -l) folders, $(find "$src" -type l | wc -l) symlinks," \
  "$(du -sh "$src" | cut -f1)"

# --- what is compared ----------------------------------------------------------------------------------------------
# Sizes and links of folders are the file system's own business.
metadata() {
  (cd "$1" && LC_ALL=C run 200 find . \( -type d -printf '%p|d|%m|%U:%G|%T@\0' \) -o \
    -printf '%p|%y|%m|%U:%G|%T@|%n|%s|%l\0' | LC_ALL=C sort -z | tr '\0' '\n')
}
# Each hard link with the first name of its file.
links() {
  (cd "$1" && run 200 find . ! -type d -links +1 -printf '%i|%p\0' | LC_ALL=C sort -z -t '|' -k 2 |
    awk -v RS='\0' '{ i = index($0, "|"); n = substr($0, 1, i - 1); p = substr($0, i + 1)
      if (!(n in first)) first[n] = p; print p " = " first[n] }')
}
checksums() {
  (cd "$1" && run 200 find . -type f -print0 | LC_ALL=C sort -z | run 300 xargs -0 sha256sum --)
}
attributes() {
  # File systems list them in any order: one line each, with the file's name.
  (cd "$1/odd" && run 200 getfattr -R -P -h -d -m '^(user|trusted|system\.posix)' -e hex . |
    awk '/^# file: / { file = $0; next } NF { print file " " $0 }' | LC_ALL=C sort)
}
same() {  # same WHAT FILE FILE
  cmp -s "$2" "$3" || fail "$1: expected the same as in the source; the first differences (< source, > lrufs):
$(diff "$2" "$3" | head -n 12)"
}
listings="metadata links checksums"
for listing in $listings; do $listing "$src" > "$WORK/src.$listing"; done
attributes "$src" > "$WORK/src.attributes"
[[ $(wc -l < "$WORK/src.attributes") -ge 2 ]] || fail "xattrs of the source: expected some"
expect_eq "checksums of the source" "$files" "$(wc -l < "$WORK/src.checksums")"

compare() {  # compare NAME WHEN [nodiff]
  local listing
  for listing in $listings; do
    $listing "$mnt/$1" > "$WORK/seen"
    same "$listing of $1 ($2)" "$WORK/src.$listing" "$WORK/seen"
  done
  attributes "$mnt/$1" > "$WORK/seen"
  same "xattrs and ACLs of $1 ($2)" "$WORK/src.attributes" "$WORK/seen"
  [[ ${3:-} != nodiff ]] || return 0
  # diff says of two equal fifos that they are fifos, so they are left to the listing.
  run 300 diff -r --no-dereference -x special "$src" "$mnt/$1" > "$WORK/seen" 2>&1 ||
    fail "diff -r of $1 ($2): expected nothing, saw: $(head -n 12 "$WORK/seen")"
}
rsync_copies_nothing() {  # rsync_copies_nothing WHEN
  run 300 rsync -aHAX --itemize-changes "$src/" "$mnt/rsync/" > "$WORK/seen"
  [[ ! -s $WORK/seen ]] || fail "rsync -aHAX ($1): expected to copy nothing, saw $(wc -l < "$WORK/seen") items:
$(head -n 12 "$WORK/seen")"
}

# --- copies --------------------------------------------------------------------------------------------------------
mount_store "$store" "$mnt" --size 3G
step "cp -a"
run 300 cp -a "$src" "$mnt/cp"
step "tar"
mkdir "$mnt/tar"
run 300 tar -C "$src" --xattrs --xattrs-include='*' --acls -cf - . |
  run 300 tar -C "$mnt/tar" --xattrs --xattrs-include='*' --acls --numeric-owner --warning=no-timestamp -xpf -
step "rsync"
run 300 rsync -aHAX "$src/" "$mnt/rsync/"
rsync_copies_nothing "second time"
for name in cp tar rsync; do
  step "compare $name"
  compare "$name" "as copied"
done
step "remount"
remount_store "$store" "$mnt" --size 3G
compare cp "after remount"
for name in tar rsync; do compare "$name" "after remount" nodiff; done
rsync_copies_nothing "after remount"
# By checksum and from lrufs' side, too.
run 300 rsync -aHAXc --itemize-changes --dry-run "$mnt/cp/" "$src/" > "$WORK/seen"
[[ ! -s $WORK/seen ]] || fail "rsync -c from the copy: expected no difference, saw: $(head -n 12 "$WORK/seen")"
step "rm -rf"
run 300 rm -rf "$mnt/tar"
[[ ! -e $mnt/tar ]] || fail "rm -rf: expected the tree to be gone"
compare cp "after another tree was removed" nodiff
check_store "$store" "$mnt"
step "passed"
