#!/usr/bin/env bash
# ctest: timeout=900
# The project builds inside its own file system: sources, objects and the program all lie in the mount; the program
# runs there; a second build has nothing to do (times are kept exactly), and after a remount neither; a touched source is
# built again.
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
need cmake ninja

store=$WORK/store.lrufs
mnt=$WORK/mnt
src=$mnt/src
build=$mnt/build
# A cache of objects would build nothing.
export CCACHE_DISABLE=1

mount_store "$store" "$mnt" --size 4G
step "copy the sources"
mkdir "$src"
if git -C "$SOURCE_DIR" rev-parse --git-dir > /dev/null 2>&1; then
  # Files that are listed and not there (removed, not committed) are left out.
  (cd "$SOURCE_DIR" && git ls-files -co -z --exclude-standard |
    while IFS= read -r -d '' file; do if [[ -e $file ]]; then printf '%s\0' "$file"; fi; done) > "$WORK/files"
else
  (cd "$SOURCE_DIR" && find . -path ./build -prune -o -type f -print0) > "$WORK/files"
fi
(cd "$SOURCE_DIR" && tar --null -T "$WORK/files" -cf -) | run 60 tar -C "$src" -xf -

configure() {
  # Tests and warnings are other tests' business; no debug information, no optimisation: this is about the files.
  run 120 cmake -S "$src" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O0 -DLRUFS_CCACHE=OFF \
    -DLRUFS_TESTS=OFF > "$WORK/configure.log" 2>&1 || fail "cmake: expected success, saw: $(tail -n 25 "$WORK/configure.log")"
}
compile() {
  run 800 ninja -C "$build" lrufs > "$WORK/build.log" 2>&1 ||
    fail "the build: expected success, saw: $(grep -E -A5 'error|FAILED' "$WORK/build.log" | head -n 40)"
}
nothing_to_do() {  # nothing_to_do WHEN
  compile
  grep -q 'ninja: no work to do' "$WORK/build.log" || fail "the build $1: expected nothing to do, saw: $(tail -n 5 "$WORK/build.log")"
}

step "configure"
configure
step "build"
compile
objects=$(find "$build" -name '*.o' | wc -l)
(( objects > 0 )) || fail "expected objects in $build, saw none"
expected="$(sed -n 's/^project(lrufs VERSION \([0-9.]*\).*/\1/p' "$SOURCE_DIR/CMakeLists.txt")"
says_version() { run 20 "$build/lrufs" --version | grep -F -- "$expected" > /dev/null; }
says_version || fail "lrufs --version, built inside: expected '$expected', saw '$(run 20 "$build/lrufs" --version 2>&1)'"
step "nothing to do"
nothing_to_do "once more"
before=$(sha256sum < "$build/lrufs")
remount_store "$store" "$mnt" --size 4G
expect_eq "the program after remount" "$before" "$(run 60 sha256sum < "$build/lrufs")"
says_version || fail "lrufs --version after remount: expected '$expected'"
nothing_to_do "after a remount"
step "touch one source"
touch "$src/cmd/main.cc"
compile
! grep -q 'ninja: no work to do' "$WORK/build.log" || fail "a touched source: expected to be built, saw no work"
check_store "$store" "$mnt"
step "passed: $objects objects"
