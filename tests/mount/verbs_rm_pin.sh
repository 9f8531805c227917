#!/usr/bin/env bash
# lrufs rm, touch, pin and unpin: what they do, and what they say when they cannot.
# ctest: timeout=180
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_verbs.sh"
on_lrufs || skip "is about the program itself"
need python3

put() { echo "$2" | "$LRUFS" put "$1" "$2"; }

removing() {
  local key
  for key in one two three d/a d/b d/e/f d/e/g/h d-x; do put "$T" "$key"; done
  expect_status 0 rm "$T" one /two
  expect_eq "after rm" $'d\nd-x\nthree' "$(say ls "$T")"
  refuse "one;no such object" rm "$T" one
  # The others go all the same.
  refuse "missing;no such object" rm "$T" missing three
  refuse "three;no such object" stat "$T" three
  refuse "d is a folder;-r" rm "$T" d
  refuse "slash" rm "$T" d/a/
  refuse "no folder" rm "$T" d/a/b
  refuse "root" rm -r "$T" /
  refuse "root" rm -r "$T" d/..
  refuse_with 2 "KEY" rm "$T"
  expect_eq "after errors" $'d\nd-x\nd/a\nd/b\nd/e\nd/e/f\nd/e/g\nd/e/g/h' "$(say ls -R "$T")"
  expect_status 0 rm -r "$T" d/e
  expect_status 0 rm --recursive "$T" d/ d-x
  expect_eq "after rm -r" "" "$(say ls "$T")"
  expect_eq "files in the store" 0 "$(say stat --json "$T" | json 'it["statistics"]["files"]')"
  if [[ -n $M ]]; then
    mkdir -p "$M/x/y"
    ln -s x "$M/link"
    ln -s .. "$M/x/up"
    expect_status 0 rm -r "$M/link"
    [[ -d $M/x/y ]] || fail "rm -r has followed a link"
    expect_status 0 rm -r "$M/x"
    expect_eq "after rm -r of a path" "" "$(say ls "$T")"
  fi
}

touching() {
  put "$T" file
  expect_status 0 touch "$T" file
  refuse "missing;no such object" touch "$T" missing
  refuse "missing;no such object" touch "$T" missing file
  refuse "slash" touch "$T" file/
  refuse_with 2 KEY touch "$T"
  expect_eq "touch makes nothing" file "$(say ls -R "$T")"
}

pinning() {
  put "$T" file
  refuse "missing;no such object" pin "$T" missing
  refuse "missing;no such object" unpin "$T" missing
  refuse_with 2 KEY pin "$T"
  refuse_with 2 KEY unpin "$T"
  expect_status 0 pin "$T" file
  expect_eq "a pin" True "$(say stat --json "$T" file | json '"user.lrufs.pin" in it["xattrs"]')"
  expect_status 0 unpin "$T" file
  expect_eq "no pin" False "$(say stat --json "$T" file | json '"user.lrufs.pin" in it["xattrs"]')"
  expect_status 0 unpin "$T" file
}

for part in removing touching pinning; do on_both "$part"; done

step "a store that cannot be written"
store=$WORK/ro.lrufs mnt=$WORK/mnt
mount_store "$store" "$mnt" --size 64M
put "$mnt" file
remount_store "$store" "$mnt" -o ro
refuse "file: the store is read-only" rm "$mnt" file
refuse "read-only" rm "$store" file
refuse "missing;no such object" rm "$store" missing
umount_store "$store" "$mnt"
verify_store "$store"
step "passed"
