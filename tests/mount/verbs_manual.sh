#!/usr/bin/env bash
# The manual pages: one for the program, one a verb, without a warning, with every option of the help.
# ctest: timeout=120
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_verbs.sh"
on_lrufs || skip "is about the program itself"
need groff

mkdir "$WORK/man"
expect_status 0 manual "$WORK/man"
refuse "missing" manual "$WORK/missing"
expect_eq "manual is not in the help" "" "$("$LRUFS" --help | grep -w manual || true)"
verbs=$("$LRUFS" --help | sed -nE 's/^  ([a-z]+) {2,}.*/\1/p')
expect_eq "pages" "$( (echo lrufs.1; for verb in $verbs; do echo "lrufs-$verb.1"; done) | sort)" "$(ls "$WORK/man" | sort)"
plain() { groff -man -Tutf8 -P-cbou -rLL=100n "$1" 2> /dev/null; }
for page in "$WORK"/man/*.1; do
  expect_eq "warnings of groff in ${page##*/}" "" "$(groff -man -Tutf8 -ww "$page" 2>&1 > /dev/null)"
  if command -v man > /dev/null; then
    expect_eq "warnings of man in ${page##*/}" "" "$(LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -l "$page" 2>&1 > /dev/null)"
  fi
  expect_words "${page##*/}" "$(plain "$page")" NAME SYNOPSIS DESCRIPTION OPTIONS "EXIT STATUS" "SEE ALSO" EXAMPLES
done
for verb in $verbs; do
  text=$(plain "$WORK/man/lrufs-$verb.1")
  for option in $("$LRUFS" "$verb" --help | sed -nE 's/^  (-[a-zA-Z]),?(--[a-z-]+)?.*/\1 \2/p; s/^  (--[a-z-]+).*/\1/p'); do
    grep -qE -- "(^|[ ,])$option( |,|\$)" <<< "$text" || fail "lrufs-$verb(1) does not have $option: $text"
  done
  # Examples are in both, unchanged.
  "$LRUFS" "$verb" --help | sed -n '/^Examples\{0,1\}:$/,/^$/s/^  //p' | while IFS= read -r line; do
    grep -qF -- "$line" <<< "$text" || fail "lrufs-$verb(1) does not have the example: $line"
  done
  grep -qF "lrufs-$verb(1)" <<< "$(plain "$WORK/man/lrufs.1")" || fail "lrufs(1) does not name lrufs-$verb(1)"
done
expect_words "lrufs-mount(1)" "$(plain "$WORK/man/lrufs-mount.1")" "/etc/fstab" "fuse.lrufs" "threads=N"
expect_words "lrufs-check(1)" "$(plain "$WORK/man/lrufs-check.1")" "1 damage was found"
# What the build made is this.
if [[ -d ${LRUFS_BUILD_DIR:-}/man ]]; then
  diff -r "$LRUFS_BUILD_DIR/man" "$WORK/man" || fail "the build's pages are not those of this program"
fi
step "passed"
