#!/usr/bin/env bash
# ctest: timeout=300
# git inside: a clone of the project's own repository (and of a generated one with more history), fsck, commits,
# branches, merges, gc, a worktree, a stash; the same after a remount. Git compares sizes, inodes and nanoseconds with
# its index and checks every object by its hash: lost or stale bytes and wrong attributes show up in status and fsck.
. "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"
need git

store=$WORK/store.lrufs
mnt=$WORK/mnt
export HOME=$WORK/home GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 LC_ALL=C
mkdir "$HOME"
git config --global user.name test
git config --global user.email test@example.org
git config --global init.defaultBranch main
git config --global safe.directory '*'
git config --global gc.auto 0
git config --global advice.detachedHead false

# git with a deadline, in the repository given by -C.
g() { run 120 git "$@"; }
clean() {  # clean REPOSITORY WHEN
  local seen
  seen=$(g -C "$1" status --porcelain)
  expect_eq "git status of ${1##*/} ($2)" "" "$seen"
}
sound() {  # sound REPOSITORY WHEN
  g -C "$1" fsck --full --strict --no-dangling > "$WORK/fsck" 2>&1 ||
    fail "git fsck of ${1##*/} ($2): expected success, saw: $(cat "$WORK/fsck")"
}

# --- a repository with some history, made on the disk ----------------------------------------------------------------
step "generate"
made=$WORK/made
g init -q "$made"
for (( commit = 1; commit <= 20; commit++ )); do
  mkdir -p "$made/dir$((commit % 7))"
  for (( file = 0; file < 20; file++ )); do
    seq "$commit" $((commit + file * 40)) > "$made/dir$((commit % 7))/file$file.txt"
  done
  head -c 50000 /dev/urandom > "$made/binary"
  g -C "$made" add -A
  g -C "$made" commit -q -m "commit $commit"
  if (( commit % 5 == 0 )); then g -C "$made" branch "branch$commit"; fi
done
sources=("$made")
if git -C "$SOURCE_DIR" rev-parse -q --verify HEAD > /dev/null 2>&1; then
  sources+=("$SOURCE_DIR")
else
  echo "$SOURCE_DIR has no commit: only the generated repository"
fi

# --- inside ----------------------------------------------------------------------------------------------------------
mount_store "$store" "$mnt" --size 2G
heads=()
for source in "${sources[@]}"; do
  repo=$mnt/$(basename "$source")
  step "clone $source"
  g clone -q --no-local "$source" "$repo"
  expect_eq "HEAD of the clone" "$(git -C "$source" rev-parse HEAD)" "$(g -C "$repo" rev-parse HEAD)"
  clean "$repo" "cloned"
  sound "$repo" "cloned"
  # The working tree is what git archive of the source says.
  g -C "$source" archive HEAD | run 120 tar -df - -C "$repo" > "$WORK/tar" 2>&1 || true
  if grep -E 'Contents differ|Size differs|No such file|Symlink differs' "$WORK/tar"; then
    fail "the clone's files differ from the source's HEAD"
  fi

  step "commit, branch, merge"
  start=$(g -C "$repo" rev-parse --abbrev-ref HEAD)
  g -C "$repo" checkout -q -b topic
  for (( n = 0; n < 30; n++ )); do
    echo "change $n" >> "$repo/new$((n % 4)).txt"
    g -C "$repo" add -A
    g -C "$repo" commit -q -m "topic $n"
  done
  g -C "$repo" checkout -q "$start"
  [[ ! -e $repo/new0.txt ]] || fail "checkout of $start: expected new0.txt to be gone"
  echo other > "$repo/other.txt"
  g -C "$repo" add -A
  g -C "$repo" commit -q -m other
  g -C "$repo" merge -q --no-edit topic
  clean "$repo" "merged"
  [[ -s $repo/new0.txt && -s $repo/other.txt ]] || fail "merge: expected both sides' files"
  g -C "$repo" rebase -q --force-rebase HEAD~1 > /dev/null 2>&1
  clean "$repo" "rebased"

  step "every branch"
  for branch in $(g -C "$repo" for-each-ref --format='%(refname)' refs/remotes refs/heads); do
    g -C "$repo" checkout -q --detach "$branch"
    clean "$repo" "at $branch"
  done
  g -C "$repo" checkout -q "$start"

  step "stash, mv, rm, worktree"
  echo dirty >> "$repo/other.txt"
  g -C "$repo" stash -q
  clean "$repo" "stashed"
  g -C "$repo" stash pop -q
  expect_eq "status after stash pop" " M other.txt" "$(g -C "$repo" status --porcelain)"
  g -C "$repo" checkout -q -- other.txt
  g -C "$repo" mv other.txt moved.txt
  g -C "$repo" rm -q new1.txt
  g -C "$repo" commit -q -m moved
  g -C "$repo" worktree add -q "$repo.worktree" HEAD~1
  clean "$repo.worktree" "new worktree"
  g -C "$repo" worktree remove "$repo.worktree"

  step "gc and fsck"
  g -C "$repo" gc -q --prune=now
  expect_eq "loose objects after gc" 0 "$(g -C "$repo" count-objects | cut -d' ' -f1)"
  sound "$repo" "after gc"
  g -C "$repo" commit -q --allow-empty -m last
  clean "$repo" "at the end"
  g clone -q "$repo" "$repo.local" # hard links within the mount
  sound "$repo.local" "local clone"
  heads+=("$(g -C "$repo" rev-parse HEAD)")
done

step "remount"
remount_store "$store" "$mnt" --size 2G
for (( n = 0; n < ${#sources[@]}; n++ )); do
  repo=$mnt/$(basename "${sources[n]}")
  expect_eq "HEAD after remount" "${heads[n]}" "$(g -C "$repo" rev-parse HEAD)"
  sound "$repo" "after remount"
  sound "$repo.local" "after remount"
  clean "$repo" "after remount"
  # Without the index' cached attributes: every file is read and hashed.
  rm "$repo/.git/index"
  g -C "$repo" read-tree HEAD
  clean "$repo" "index made anew"
  g -C "$repo" push -q "$repo.local" HEAD:refs/heads/pushed
  expect_eq "pushed" "${heads[n]}" "$(g -C "$repo.local" rev-parse pushed)"
done
check_store "$store" "$mnt"
step "passed"
