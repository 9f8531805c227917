#!/usr/bin/env bash
# Check (or with --fix: repair) the format of all C++ sources: tracked, and untracked but not ignored.
# Exit status 77 (skipped) when clang-format 14 is missing: other versions format differently.
set -euo pipefail

case "${1:-}" in
  "") mode=(--dry-run --Werror) ;;
  --fix) mode=(-i) ;;
  *) echo "usage: $0 [--fix]" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."

tool=
for candidate in clang-format-14 clang-format; do
  if command -v "$candidate" > /dev/null && "$candidate" --version | grep -q 'version 14\.'; then
    tool=$candidate
    break
  fi
done
if [[ -z $tool ]]; then
  echo "clang-format 14 is missing: skipped"
  exit 77
fi

list() {
  if [[ -e .git ]] && git ls-files > /dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard -- '*.cc' '*.h'
  else
    find . \( -path ./build -o -name '.?*' \) -prune -o \( -name '*.cc' -o -name '*.h' \) -type f -print0
  fi
}

files=()
while IFS= read -r -d '' file; do
  if [[ -f $file ]]; then files+=("$file"); fi
done < <(list)

if (( ${#files[@]} == 0 )); then
  echo "no sources"
  exit 0
fi
printf '%s\0' "${files[@]}" | xargs -0 -P 2 -n 32 "$tool" --style=file "${mode[@]}"
echo "${#files[@]} sources"
