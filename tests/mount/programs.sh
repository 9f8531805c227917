#!/usr/bin/env bash
# ctest: timeout=600
# Programs as people use them, each part skipped by name where its program is missing: ccache with its folder on the mount,
# editors that save in place (vim in both ways, sed -i, perl -i), caches that write a temporary file and rename it (from
# several processes at once), npm install, a virtual environment of Python, fio with verification, cp --sparse and
# --reflink=auto, find, du and df, two mounts of different stores that copy into each other. The same again after a
# remount, where something must have stayed. On a plain folder all but the remounts must hold as well.
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
cd "$WORK" || exit  # some leave files where they are

store=$WORK/store.lrufs
mnt=$WORK/mnt
other_store=$WORK/other.lrufs
other=$WORK/other
export HOME=$WORK/home LC_ALL=C
mkdir "$HOME"
unset PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX CCACHE_DIR CCACHE_BASEDIR CCACHE_NOHASHDIR CCACHE_CONFIGPATH CCACHE_REMOTE_STORAGE 2> /dev/null || true
left_out=()
have() {  # have PART TOOL...
  local tool
  for tool in "${@:2}"; do
    if ! command -v "$tool" > /dev/null; then left_out+=("$1 (no $tool)"); return 1; fi
  done
  step "$1"
}
counter() {  # counter NAME: of ccache's statistics
  run 60 ccache --print-stats | awk -v name="$1" '$1 == name { print $2 }'
}

mount_store "$store" "$mnt" --size 1G
mkdir "$mnt/work"

if have "ccache" ccache cc; then
  export CCACHE_DIR=$mnt/ccache
  for i in 1 2 3 4 5 6; do printf '#include <stdio.h>\nint f%d(void) { return printf("%%d", %d); }\n' "$i" "$i" > "$WORK/f$i.c"; done
  compile_all() {
    for i in 1 2 3 4 5 6; do (cd "$WORK" && run 60 ccache cc -O2 -c "f$i.c" -o "$1-$i.o") & done
    wait
  }
  compile_all first
  expect_eq "misses of the first compilation" 6 "$(counter cache_miss)"
  remount_store "$store" "$mnt"
  compile_all second
  expect_eq "hits of the second one, after a remount" 6 "$(($(counter direct_cache_hit) + $(counter preprocessed_cache_hit)))"
  for i in 1 2 3 4 5 6; do cmp "$WORK/first-$i.o" "$WORK/second-$i.o"; done
  run 60 ccache --cleanup
  run 60 ccache --clear
  compile_all third
  expect_eq "misses after ccache --clear" 12 "$(counter cache_miss)"
fi

# edited TOOL PATH WANTED MODE: what it left behind.
edited() {
  expect_eq "content after $1" "$3" "$(cat "$2")"
  expect_eq "mode after $1" "$4" "$(stat -c %a "$2")"
}
text() { printf 'first line\nsecond line\n' > "$1"; chmod 640 "$1"; setfattr -n user.kept -v yes "$1" 2> /dev/null || true; }
if have "sed -i" sed; then
  text "$mnt/work/sed"
  run 30 sed -i.bak 's/second/2nd/' "$mnt/work/sed"
  edited "sed -i" "$mnt/work/sed" $'first line\n2nd line' 640
  edited "sed -i (its backup)" "$mnt/work/sed.bak" $'first line\nsecond line' 640
fi
if have "perl -i" perl; then
  text "$mnt/work/perl"
  run 30 perl -i -pe 's/first/1st/' "$mnt/work/perl"
  edited "perl -i" "$mnt/work/perl" $'1st line\nsecond line' 640
fi
if have "vim" vim; then
  # yes: a copy is the backup, and the file is written in place. no: the file is renamed, and a new one is written.
  for copy in yes no; do
    text "$mnt/work/vim-$copy"
    ln "$mnt/work/vim-$copy" "$mnt/work/vim-$copy.link"
    inode=$(stat -c %i "$mnt/work/vim-$copy")
    run 60 vim -es -u NONE -i NONE -c "set backupcopy=$copy backupskip= backup swapfile fsync" -c '2s/second/other/' -c wq "$mnt/work/vim-$copy" \
      < /dev/null > "$WORK/vim.out" 2>&1 || fail "vim: exit status $?: $(cat "$WORK/vim.out")"
    edited "vim ($copy)" "$mnt/work/vim-$copy" $'first line\nother line' 640
    edited "vim ($copy, its backup)" "$mnt/work/vim-$copy~" $'first line\nsecond line' 640
    if [[ $copy == yes ]]; then
      expect_eq "inode after vim" "$inode" "$(stat -c %i "$mnt/work/vim-$copy")"
      edited "vim (the other link)" "$mnt/work/vim-$copy.link" $'first line\nother line' 640
    else
      edited "vim (the other link)" "$mnt/work/vim-$copy.link" $'first line\nsecond line' 640
    fi
    [[ ! -e $mnt/work/.vim-$copy.swp ]] || fail "vim left its swap file"
  done
fi

step "a cache that writes temporary files and renames them, from six processes"
mkdir "$mnt/cache"
entry() { printf '%s\n' "$1" "$(seq "$1" $(( $1 + 500 )))"; }
fill() {  # fill PROCESS: as apt, pip and cargo do it
  local i key temporary
  for (( i = 0; i < 60; i++ )); do
    key=$(( (i * 7 + $1) % 40 ))
    temporary=$(mktemp "$mnt/cache/.tmp.XXXXXX")
    entry "$key" > "$temporary"
    mv -f "$temporary" "$mnt/cache/key$key"
    # What a reader sees is always whole.
    cmp -s <(entry "$key") "$mnt/cache/key$key" || { echo "process $1: key$key is not whole" >&2; return 1; }
  done
}
fillers=()
for process in 0 1 2 3 4 5; do fill "$process" & fillers+=($!); done
for filler in "${fillers[@]}"; do wait "$filler" || fail "a filler of the cache: expected success, saw $?"; done
expect_eq "entries of the cache" "$(seq 0 39 | sed 's/^/key/' | LC_ALL=C sort)" "$(ls -A "$mnt/cache" | LC_ALL=C sort)"

if have "npm install" npm node; then
  mkdir -p "$WORK/package/lib" "$mnt/project"
  echo '{"name": "a-package", "version": "1.2.3", "main": "lib/main.js", "bin": {"a-tool": "lib/tool.js"}}' > "$WORK/package/package.json"
  echo 'module.exports = { answer: require("./part").answer };' > "$WORK/package/lib/main.js"
  for i in $(seq 300); do echo "exports.answer = $i;" > "$WORK/package/lib/part$i.js"; done
  echo 'exports.answer = 42;' > "$WORK/package/lib/part.js"
  printf '#!/usr/bin/env node\nconsole.log(require("./main").answer);\n' > "$WORK/package/lib/tool.js"
  (cd "$WORK/package" && run 120 npm pack --silent --pack-destination "$WORK" > "$WORK/npm.out" 2>&1) || fail "npm pack: $(cat "$WORK/npm.out")"
  echo '{"name": "project", "version": "1.0.0", "private": true}' > "$mnt/project/package.json"
  (cd "$mnt/project" && run 240 npm install --offline --no-audit --no-fund --cache "$mnt/npm-cache" "$WORK/a-package-1.2.3.tgz" > "$WORK/npm.out" 2>&1) ||
    fail "npm install: $(cat "$WORK/npm.out")"
  expect_eq "the installed package" 42 "$(cd "$mnt/project" && run 60 node -p 'require("a-package").answer')"
  expect_eq "its tool" 42 "$(run 60 "$mnt/project/node_modules/.bin/a-tool")"
  expect_eq "its files" 304 "$(find "$mnt/project/node_modules/a-package" -type f | wc -l)"
  remount_store "$store" "$mnt"
  rm -rf "$mnt/project/node_modules"
  (cd "$mnt/project" && run 240 npm ci --offline --no-audit --no-fund --cache "$mnt/npm-cache" > "$WORK/npm.out" 2>&1) ||
    fail "npm ci from its cache, after a remount: $(cat "$WORK/npm.out")"
  expect_eq "its tool, installed from npm's cache" 42 "$(run 60 "$mnt/project/node_modules/.bin/a-tool")"
fi

if have "a virtual environment" python3; then
  run 120 python3 -m venv --without-pip "$mnt/venv" > "$WORK/venv.out" 2>&1 || fail "python3 -m venv: $(cat "$WORK/venv.out")"
  mkdir -p "$WORK/module"
  echo 'VALUE = sum(range(10))' > "$WORK/module/__init__.py"
  cp -r "$WORK/module" "$(echo "$mnt"/venv/lib/python3*/site-packages)/module"
  expect_eq "a module in it" 45 "$(run 60 "$mnt/venv/bin/python" -I -c 'import module; print(module.VALUE)')"
  ls "$mnt"/venv/lib/python3*/site-packages/module/__pycache__/*.pyc > /dev/null
fi

if have "fio --verify" fio; then
  for engine in psync mmap; do
    for shape in randwrite write; do
      run 200 fio --name="$engine-$shape" --directory="$mnt/work" --ioengine="$engine" --rw="$shape" --bs=4k,8k,12k --bssplit=4k/50:12k/30:64k/20 \
        --size=12M --numjobs=2 --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=64 --fallocate=none --randseed=7 --verify_state_save=0 --output="$WORK/fio.out" ||
        fail "fio $engine $shape: exit status $?: $(tail -n 25 "$WORK/fio.out")"
      if grep -qi "verify: bad" "$WORK/fio.out"; then fail "fio $engine $shape: $(grep -i -m 3 'verify: bad' "$WORK/fio.out")"; fi
    done
  done
  rm -f "$mnt"/work/*write.*
fi

step "cp --sparse and --reflink"
truncate -s 20M "$mnt/work/sparse"
printf island | dd of="$mnt/work/sparse" bs=1 seek=9M conv=notrunc status=none
for way in --sparse=always --sparse=auto --sparse=never --reflink=auto; do
  run 60 cp "$way" "$mnt/work/sparse" "$mnt/work/copy"
  run 60 cmp "$mnt/work/sparse" "$mnt/work/copy"
done
run 60 cp --sparse=always "$mnt/work/sparse" "$mnt/work/copy"
(( $(stat -c %b "$mnt/work/copy") < 200 )) || fail "cp --sparse=always: expected holes, saw $(stat -c %b "$mnt/work/copy") blocks"

step "find, du and df"
mkdir -p "$mnt/count"
for i in $(seq 30); do mkdir "$mnt/count/$i"; head -c 5000 /dev/zero > "$mnt/count/$i/file"; ln -s file "$mnt/count/$i/link"; done
expect_eq "find -type f" 30 "$(find "$mnt/count" -type f -size +4k | wc -l)"
expect_eq "find -type l" 30 "$(find "$mnt/count" -type l -lname file | wc -l)"
expect_eq "find -newer" 0 "$(find "$mnt/count" -newermt '+1 hour' | wc -l)"
expect_eq "du --apparent-size of files" 150000 "$(find "$mnt/count" -type f -print0 | du --apparent-size -b -c --files0-from=- | tail -n 1 | cut -f1)"
(( $(du -s -B1 "$mnt/count" | cut -f1) >= 30 * 5000 )) || fail "du: expected at least what was written, saw $(du -s -B1 "$mnt/count")"
if on_lrufs; then
  before=$(df -B1 --output=used "$mnt" | tail -n 1)
  head -c 30000000 /dev/urandom > "$mnt/work/big"
  used=$(( $(df -B1 --output=used "$mnt" | tail -n 1) - before ))
  (( used > 29000000 && used < 40000000 )) || fail "df after 30 MB: expected that much more in use, saw $used bytes"
fi

step "two mounts copy into each other"
mount_store "$other_store" "$other" --size 1G
mkdir "$other/from" "$mnt/from"
for i in $(seq 200); do entry "$i" > "$mnt/from/a$i"; entry $(( i + 1000 )) > "$other/from/b$i"; done
run 120 cp -a "$mnt/from" "$other/to" & one=$!
run 120 cp -a "$other/from" "$mnt/to" & two=$!
wait "$one" && wait "$two"
run 60 diff -r "$mnt/from" "$other/to"
run 60 diff -r "$other/from" "$mnt/to"
# Renames do not cross; mv copies.
run 60 mv "$other/to" "$mnt/moved"
run 60 diff -r "$mnt/from" "$mnt/moved"
[[ ! -e $other/to ]] || fail "mv between mounts: expected the source to be gone"

step "after a remount"
check_store "$other_store" "$other"
remount_store "$store" "$mnt"
run 60 diff -r "$mnt/from" "$mnt/moved"
cmp "$mnt/work/sparse" "$mnt/work/copy"
check_store "$store" "$mnt"
(( ${#left_out[@]} == 0 )) || printf 'left out: %s\n' "${left_out[@]}"
step "passed"
