#!/usr/bin/env bash
# lrufs ls and stat of objects, on a store that is not mounted and on one that is.
# ctest: timeout=180
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_verbs.sh"
on_lrufs || skip "is about the program itself"
need python3 script

head -c 5000 /dev/urandom > "$WORK/5000"
put() { "$LRUFS" put "$@" < "$WORK/5000"; }

listing() {
  expect_eq "ls of an empty store" "" "$(say ls "$T")"
  local key
  for key in b a-b a/b a/c/d a.x $'\xc3\xa4' Z; do put "$T" "$key"; done
  expect_eq "ls" $'Z\na\na-b\na.x\nb\n\xc3\xa4' "$(say ls "$T")"
  expect_eq "ls -R" $'Z\na\na-b\na.x\na/b\na/c\na/c/d\nb\n\xc3\xa4' "$(say ls -R "$T")"
  expect_eq "ls -R is sorted bytewise" "$(say ls --recursive "$T" | LC_ALL=C sort)" "$(say ls -R "$T")"
  expect_eq "ls of a folder" $'a/b\na/c' "$(say ls "$T" a)"
  expect_eq "ls of a folder with a slash" $'a/b\na/c' "$(say ls "$T" /a//)"
  expect_eq "ls -R of a folder" $'a/b\na/c\na/c/d' "$(say ls -R "$T" a)"
  expect_eq "ls of a file" a/b "$(say ls "$T" a/b)"
  expect_eq "ls of a beginning" $'a-b' "$(say ls "$T" a-)"
  expect_eq "ls of the root" $'Z\na\na-b\na.x\nb\n\xc3\xa4' "$(say ls "$T" /)"
  refuse "no such object" ls "$T" nothing
  refuse "slash" ls "$T" b/
  refuse "no such object" ls "$T" nothing/
  expect_status 2 ls "$T" --lru -R
  # The keys that are printed are those to be given.
  say ls -R "$T" | while IFS= read -r key; do expect_status 0 stat "$T" "$key"; done

  local line
  line=$(say ls -l "$T" b)
  [[ $line =~ ^-rw-[r-].*\ 5000\ \ [0-9-]{10}\ [0-9:]{8}\ \ b$ ]] || fail "ls -l of a file: $line"
  [[ $(say ls --long "$T" a) == *drwx*a/c ]] || fail "ls -l of a folder: $(say ls -l "$T" a)"
  expect_eq "ls --json" "[('a', 'folder'), ('a/b', 'file'), ('a/c', 'folder'), ('a/c/d', 'file')]" \
    "$(say ls -R --json "$T" | json '[(o["key"], o["type"]) for o in lines if o["key"].split("/")[0] == "a"]')"
  expect_eq "size in ls --json" 5000 "$(say ls --json "$T" b | json 'lines[0]["size"]')"
}

odd_names() {
  local odd=$'odd\xff\x01'
  put "$T" "$odd"
  put "$T" $'a\nb'
  put "$T" "it's"
  put "$T" plain
  expect_eq "names in a pipe are as they are" "$odd" "$(say ls "$T" odd)"
  expect_eq "key_hex" "$(printf %s "$odd" | od -An -tx1 | tr -d ' \n')" "$(say ls --json "$T" odd | json 'lines[0]["key_hex"]')"
  expect_eq "no key_hex without need" False "$(say ls --json "$T" plain | json '"key_hex" in lines[0]')"
  expect_eq "names on a terminal" "'a'\$'\\n''b'"$'\n'"'it'\\''s'"$'\n'"'odd'\$'\\377\\001'"$'\n'plain \
    "$(SHELL=/bin/bash script -qec "$LRUFS ls $T" /dev/null < /dev/null | tr -d '\r' | sed "s/\\(\\\\[0-9]*\\)''\$/\\1/")"
}

object() {
  put "$T" dir/file
  local text json
  text=$(say stat "$T" dir/file)
  expect_words "stat of a file" "$text" "dir/file" "5,000 bytes" "Mode" "-rw-" "Inode" "Content changed"
  json=$(say stat --json "$T" /dir//file)
  expect_eq "stat --json of a file" "dir/file file 5000 1 {}" \
    "$(json '" ".join(str(it[k]) for k in ("key", "type", "size", "links", "xattrs"))' <<< "$json")"
  expect_eq "stat --json of a folder" "folder" "$(say stat --json "$T" dir | json 'it["type"]')"
  expect_eq "stat of the root" "folder" "$(say stat --json "$T" / | json 'it["type"]')"
  refuse "nothing;no such object" stat "$T" nothing
  refuse "nothing;no such object" stat "$T" nothing --json
  refuse "slash" stat "$T" dir/file/
  # Without a KEY it is about the store.
  expect_words "stat of the store" "$(say stat "$T")" Bound Used
  if [[ -n $M ]]; then
    expect_eq "mtime of both" "$(stat -c %Y "$M/dir/file")" \
      "$(say stat --json "$T" dir/file | json '__import__("datetime").datetime.fromisoformat(it["mtime"][:19] + "+00:00").timestamp().__int__()')"
    expect_eq "stat of a path" "dir/file" "$(say stat --json "$M/dir/file" | json 'it["key"]')"
    expect_eq "stat of a folder in a mount" "dir" "$(say stat --json "$M/dir" | json 'it["key"]')"
    ln -s dir/file "$M/link"
    expect_words "stat of a link" "$(say stat "$M/link")" symlink dir/file
    expect_words "ls -l of a link" "$(say ls -l "$M/link")" "link -> dir/file"
    expect_eq "ls seen from a folder" file "$(say ls "$M/dir")"
    expect_eq "ls of a path to a file" dir/file "$(say ls "$M" dir/file)"
  else
    expect_eq "what only the store knows" True "$(json '"btime" in it and "sequence" in it' <<< "$json")"
    expect_words "what only the store knows" "$text" "Order of use" Made
  fi
}

for part in listing odd_names object; do on_both "$part"; done

step "the order of use"
store=$WORK/lru.lrufs mnt=$WORK/mnt
mount_store "$store" "$mnt" --size 64M
mkdir "$mnt/d" "$mnt/empty"
for name in one two d/three four; do put "$mnt" "$name"; done
order_of() { say ls --lru --json "$@" | json '" ".join(o["key"] for o in lines)'; }
expect_eq "order of making, while it is mounted: by the mount" "empty one two d/three four" "$(order_of "$mnt")"
expect_eq "and by the store" "empty one two d/three four" "$(order_of "$store")"
umount_store "$store" "$mnt"
order() { say ls --lru --json "$store" "$@" | json '" ".join(o["key"] for o in lines)'; }
expect_eq "order of making" "empty one two d/three four" "$(order)"
expect_status 0 touch "$store" one d/three
expect_eq "after touch of a store" "empty two four one d/three" "$(order)"
expect_eq "ls --lru of a folder" "d/three" "$(order d)"
expect_words "ls --lru" "$(say ls --lru "$store" | head -n 1)" empty
expect_words "ls --lru -l" "$(say ls --lru -l "$store" two)" "-rw" 5000 two
expect_eq "sequences grow" True "$(say ls --lru --json "$store" |
  json 'all(a["sequence"] < b["sequence"] for a, b in zip(lines, lines[1:]))')"
# A file that was written has been used.
expect_eq "what was used" "False True True True True" "$(say ls --lru --json "$store" | json '" ".join(str(o["used"]) for o in lines)')"
expect_eq "a use after the last making has no upper bound" "True False" "$(say ls --lru --json "$store" one |
  json '"used_after" in lines[0], "used_before" in lines[0]' | tr -d '(),')"
put "$store" five
expect_eq "a use before another's making has" "True" "$(say ls --lru --json "$store" one |
  json '"used_before" in lines[0] and lines[0]["used_after"] <= lines[0]["used_before"]')"
# As the evictor sees it: what is listed first goes first.
first=$(say ls --lru "$store" | sed -n '2s/.* //p')
head -c 40M /dev/zero | tr '\0' x | "$LRUFS" put "$store" large
head -c 30M /dev/zero | tr '\0' x | "$LRUFS" put "$store" larger
refuse "no such object" stat "$store" "$first"
verify_store "$store"

step "touch in a mount reaches the order, whatever the kernel has cached"
rm "$store"
mount_store "$store" "$mnt" --size 64M --recency 1h
mkdir "$mnt/d"
for name in one two three d/four; do put "$mnt" "$name"; done
: > "$mnt/nothing-in-it"
ln -s nowhere "$mnt/link"
ls -lR "$mnt" > /dev/null
before=$(stat -c '%x %y %z' "$mnt/one" "$mnt/d/four")
expect_status 0 touch "$mnt" one link
expect_status 0 touch "$mnt/d/four"
expect_status 0 touch "$mnt/nothing-in-it"
expect_eq "times after touch" "$before" "$(stat -c '%x %y %z' "$mnt/one" "$mnt/d/four")"
umount_store "$store" "$mnt"
expect_eq "order" "two three one link d/four nothing-in-it" "$(order)"
verify_store "$store"
step "passed"
