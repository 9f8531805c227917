#!/usr/bin/env bash
# Bad input: each gets a clear message and a non-zero exit status, and nothing is changed.
# ctest: timeout=180
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
on_lrufs || skip "is about the program itself"
need python3 sha256sum

mnt=$WORK/mnt
store=$WORK/cache.lrufs
mkdir "$mnt"

# What a file is: its content and its size; "absent" if there is none.
state_of() {
  if [[ -d $1 ]]; then
    ls -lA "$1"
  elif [[ -e $1 ]]; then
    echo "$(sha256sum < "$1") $(stat -c %s "$1")"
  else
    echo absent
  fi
}

# refuse FILE WORDS ARGUMENTS...: lrufs ARGUMENTS must fail with a message that has all of WORDS (extended regular
# expressions, separated by ';'), and leave FILE as it was.
refuse() {
  local file=$1 words=$2 before after status=0 text word
  shift 2
  before=$(state_of "$file")
  text=$(run 30 "$LRUFS" "$@" 2>&1 > /dev/null) || status=$?
  after=$(state_of "$file")
  (( status == 1 || status == 2 )) || fail "lrufs $*: expected exit status 1 or 2, saw $status: $text"
  [[ $text == lrufs:\ * || $text == *--help* ]] || fail "lrufs $*: expected a message that begins with 'lrufs: ', saw: $text"
  while IFS= read -r -d ';' word; do
    grep -qiE -- "$word" <<< "$text" || fail "lrufs $*: expected '$word' in the message: $text"
  done <<< "$words;"
  expect_eq "$file after lrufs $*" "$before" "$after"
  echo "   ok: $(head -n 1 <<< "$text")"
}
refuse_mount() {  # refuse_mount FILE WORDS ARGUMENTS...: the same for lrufs mount; and nothing is mounted
  refuse "$1" "$2" mount "${@:3}"
  is_unmounted "$mnt" || fail "lrufs mount ${*:3} failed, but $mnt is mounted"
  no_daemon "$1" || fail "lrufs mount ${*:3} failed, but a daemon runs"
}

step "values that cannot be"
refuse_mount "$store" "--size;ten;10G" --size ten "$store" "$mnt"
refuse_mount "$store" "--size;-5;10G" --size=-5 "$store" "$mnt"
refuse_mount "$store" "--size;too large" --size 99999999P "$store" "$mnt"
refuse_mount "$store" "--size;too small;at least [0-9]+ MiB" --size 64K "$store" "$mnt"
refuse_mount "$store" "--sync;soon;5s;always;unmount" --sync soon "$store" "$mnt"
refuse_mount "$store" "--recency;10x;5s" --recency 10x "$store" "$mnt"
refuse_mount "$store" "--max-files;1.5" --max-files 1.5 "$store" "$mnt"
refuse_mount "$store" "--log-level;loud;warning" --log-level loud "$store" "$mnt"
refuse_mount "$store" "--log;stderr;--foreground" --log stderr "$store" "$mnt"
refuse_mount "$store" "--log;no/such/folder" --log "$WORK/no/such/folder/log" "$store" "$mnt"
refuse_mount "$store" "frobnicate" -o frobnicate "$store" "$mnt"
refuse_mount "$store" "size;huge" -o size=huge "$store" "$mnt"
refuse_mount "$store" "MOUNTPOINT" "$store"
refuse_mount "$store" "--frobnicate" --frobnicate "$store" "$mnt"

step "mount points"
refuse_mount "$store" "mount point;does not exist;mkdir" "$store" "$WORK/missing"
refuse_mount "$store" "mount point;does not exist;mkdir" "$store" "$WORK/missing/deeper"
touch "$WORK/plain file"
refuse_mount "$store" "mount point;not a folder" "$store" "$WORK/plain file"
mkdir "$WORK/full"
touch "$WORK/full/a file"
refuse_mount "$store" "not empty;nonempty" "$store" "$WORK/full"
refuse_mount "$WORK/full/s.lrufs" "inside the mount point" -o nonempty "$WORK/full/s.lrufs" "$WORK/full"

step "stores that cannot be"
mkdir "$WORK/folder"
refuse_mount "$WORK/folder" "is a folder;one file" "$WORK/folder" "$mnt"
refuse_mount "$WORK/no/cache.lrufs" "does not exist;mkdir -p $WORK/no" "$WORK/no/cache.lrufs" "$mnt"
refuse_mount "$WORK/plain file/x" "not a folder" "$WORK/plain file/x" "$mnt"
refuse_mount "/dev/null" "not a regular file" /dev/null "$mnt"
ln -s "$WORK/nowhere" "$WORK/dangling"
refuse_mount "$WORK/nowhere" "symbolic link" "$WORK/dangling" "$mnt"
refuse_mount "$store" "does not exist;-o ro" -o ro "$store" "$mnt"

head -c 1000000 /dev/urandom > "$WORK/noise"
refuse_mount "$WORK/noise" "not a;store" "$WORK/noise" "$mnt"
refuse "$WORK/noise" "not a;store" check "$WORK/noise"
refuse "$WORK/noise" "not a;store" stat "$WORK/noise"
echo "# a short text" > "$WORK/text"
refuse_mount "$WORK/text" "not a;store" "$WORK/text" "$mnt"
refuse_mount "$WORK/text" "not a;store" --from-checkpoint "$WORK/text" "$mnt"

step "a real store, and what may happen to it"
mount_store "$store" "$mnt" --size 64M
for i in {1..20}; do head -c 100000 /dev/urandom > "$mnt/file$i"; done
umount_store "$store" "$mnt"
verify_store "$store"
intact=$(state_of "$store")

refuse_mount "$store" "--size;too small" --size 64K "$store" "$mnt"

# The version of all four metas, each with its checksum, as a later lrufs would write them.
cp "$store" "$WORK/newer"
python3 - "$WORK/newer" << 'END'
import ctypes, struct, sys
xxh = ctypes.CDLL("libxxhash.so.0")
xxh.XXH3_64bits.restype = ctypes.c_uint64
xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
with open(sys.argv[1], "r+b") as file:
    patched = 0
    for page in range(4):
        file.seek(page * 4096)
        meta = bytearray(file.read(512))
        if meta[:5] != b"lrufs":
            continue
        (checksum,) = struct.unpack_from("<Q", meta, 504)
        assert xxh.XXH3_64bits(bytes(meta), 504) == checksum, "the layout of metas has changed: change this test"
        struct.pack_into("<I", meta, 8, 999)
        struct.pack_into("<Q", meta, 504, xxh.XXH3_64bits(bytes(meta), 504))
        file.seek(page * 4096)
        file.write(meta)
        patched += 1
    assert patched >= 2, patched
END
refuse_mount "$WORK/newer" "newer" "$WORK/newer" "$mnt"
refuse_mount "$WORK/newer" "newer" --from-checkpoint "$WORK/newer" "$mnt"
refuse "$WORK/newer" "newer" check "$WORK/newer"
refuse "$WORK/newer" "newer" stat "$WORK/newer"

size=$(stat -c %s "$store")
for length in 100 4096 20000 65536 $(( size / 2 )); do
  cp "$store" "$WORK/short"
  truncate -s "$length" "$WORK/short"
  refuse_mount "$WORK/short" "truncated|short|damaged|ends|not a" "$WORK/short" "$mnt"
done

# All metas overwritten, the rest intact.
cp "$store" "$WORK/beheaded"
dd if=/dev/urandom of="$WORK/beheaded" bs=4096 count=4 conv=notrunc status=none
refuse_mount "$WORK/beheaded" "not a;store" "$WORK/beheaded" "$mnt"

step "in use, mounted already"
mount_store "$store" "$mnt"
mkdir "$WORK/other"
in_use() {  # in_use WORDS ARGUMENTS...: the mount still works after that
  local words=$1 text status=0 word
  shift
  text=$(run 30 "$LRUFS" "$@" 2>&1 > /dev/null) || status=$?
  (( status == 1 || status == 2 )) || fail "lrufs $*: expected exit status 1 or 2, saw $status: $text"
  while IFS= read -r -d ';' word; do
    grep -qiE -- "$word" <<< "$text" || fail "lrufs $*: expected '$word' in the message: $text"
  done <<< "$words;"
  expect_eq "size of a file on the mount" 100000 "$(stat -c %s "$mnt/file1")"
  echo "   ok: $text"
}
in_use "in use;$mnt;umount" mount "$store" "$WORK/other"
in_use "mounted already;$store" mount "$WORK/second.lrufs" "$mnt"
in_use "mounted already;$store" mount -o nonempty "$WORK/second.lrufs" "$mnt"
[[ ! -e $WORK/second.lrufs ]] || fail "a mount that failed has left a new store"
in_use "in use;$mnt" check --repair "$store"
run 60 "$LRUFS" check "$store" > "$WORK/check.out" 2>&1 || fail "check of a store in use: $(cat "$WORK/check.out")"
grep -q 'nothing wrong' "$WORK/check.out" || fail "check of a store in use: $(cat "$WORK/check.out")"
is_unmounted "$WORK/other" || fail "$WORK/other is mounted"
umount_store "$store" "$mnt"
verify_store "$store"
intact=$(state_of "$store")

step "unmounting what is no mount"
refuse "$store" "not mounted" umount "$mnt"
refuse "$store" "no such file" umount "$WORK/missing"
refuse "$store" "not mounted" umount "$store"
refuse "$store" "/proc;not of lrufs" umount /proc
refuse "$store" "not a mount of lrufs|not mounted" stat "$mnt"
refuse "$store" "no such file|does not exist" stat "$WORK/missing"
refuse "$store" "no such file|does not exist" check "$WORK/missing"
refuse "$store" "is a folder" check "$mnt"

if is_root; then
  step "a read-only disk"
  mkdir "$WORK/disk"
  mount -t tmpfs -o size=200M lrufs-test "$WORK/disk"
  cp "$store" "$WORK/disk/cache.lrufs"
  mount -o remount,ro "$WORK/disk"
  refuse_mount "$WORK/disk/cache.lrufs" "read-only;-o ro" "$WORK/disk/cache.lrufs" "$mnt"
  refuse_mount "$WORK/disk/new.lrufs" "read-only" "$WORK/disk/new.lrufs" "$mnt"
  before=$(state_of "$WORK/disk/cache.lrufs")
  mount_store "$WORK/disk/cache.lrufs" "$mnt" -o ro
  expect_eq "size of a file on the read-only mount" 100000 "$(stat -c %s "$mnt/file1")"
  if touch "$mnt/new" 2> /dev/null; then fail "a file was made on a read-only mount"; fi
  umount_store "$WORK/disk/cache.lrufs" "$mnt"
  verify_store "$WORK/disk/cache.lrufs"
  expect_eq "the store on the read-only disk" "$before" "$(state_of "$WORK/disk/cache.lrufs")"
  umount "$WORK/disk"

  if id nobody > /dev/null 2>&1 && command -v setpriv fusermount3 > /dev/null; then
    step "a user who may not"
    chmod 711 "$WORK"
    chmod 700 "$store"
    as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
    deny() {  # deny WORDS ARGUMENTS...
      local words=$1 text status=0 word
      shift
      text=$(as_nobody "$LRUFS" "$@" 2>&1 > /dev/null) || status=$?
      (( status == 1 )) || fail "lrufs $* as nobody: expected exit status 1, saw $status: $text"
      while IFS= read -r -d ';' word; do
        grep -qiE -- "$word" <<< "$text" || fail "lrufs $* as nobody: expected '$word' in the message: $text"
      done <<< "$words;"
      echo "   ok: $text"
    }
    if as_nobody "$LRUFS" --version > /dev/null 2>&1; then
      deny "no permission;$store" mount "$store" "$mnt"
      deny "no permission;$WORK" mount "$WORK/users.lrufs" "$mnt"
      mkdir -m 777 "$WORK/open"
      deny "writable|users other than root" mount "$WORK/open/users.lrufs" "$mnt"
      [[ ! -e $WORK/open/users.lrufs ]] || fail "a mount that failed has left a new store"
    fi
    chmod 600 "$store"
  fi
fi

expect_eq "the store after all this" "$intact" "$(state_of "$store")"
step "passed"
