#!/usr/bin/env bash
# Build libfuse 3.18.3, with io_uring, for a distribution that has an older one: a static library in a folder of the build
# tree, nothing of the system is touched. Then:
#   cmake --preset libfuse318 && cmake --build --preset libfuse318      # links it
#   scripts/build-libfuse.sh [FOLDER]      where to (default: build/libfuse-3.18, which the preset looks in)
# Does nothing when it is there. The source is Debian's, fetched by apt's own downloader, which checks the hash; LIBFUSE_TARBALL
# names a file that is there already. Needs meson, ninja, and the headers of liburing and libnuma: scripts/setup.sh --libfuse.
set -euo pipefail

version=3.18.3
sha256=bcd19582c5e30f7fe45dd86a5540e998590aa01903afc7ebcbeea6c8ac5421ee

case "${1:-}" in
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  -*) echo "usage: $0 [FOLDER]" >&2; exit 2 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
prefix=$(realpath -m "${1:-$root/build/libfuse-3.18}")

pc=$prefix/lib/pkgconfig/fuse3.pc
if [[ -f $pc ]] && grep -qx "Version: $version" "$pc" && grep -q '^Requires:.*liburing' "$pc"; then exit 0; fi

for package in liburing numa; do
  # meson leaves io_uring out without a word when one is missing.
  if ! pkg-config --exists "$package"; then
    echo "build-libfuse.sh: no $package; io_uring needs it: scripts/setup.sh --libfuse" >&2
    exit 1
  fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

tarball=${LIBFUSE_TARBALL:-$work/libfuse.tar.gz}
if [[ -z ${LIBFUSE_TARBALL:-} ]]; then
  fetched=0
  while read -r mirror; do
    url=${mirror%/}/pool/main/f/fuse3/fuse3_$version.orig.tar.gz
    if /usr/lib/apt/apt-helper download-file "$url" "$tarball" "SHA256:$sha256" > "$work/fetch.log" 2>&1; then
      fetched=1
      break
    fi
  done < <(apt-get indextargets --no-release-info --format '$(REPO_URI)' | sort -u)
  if (( ! fetched )); then
    cat "$work/fetch.log" >&2
    echo "build-libfuse.sh: no mirror of apt's has fuse3_$version.orig.tar.gz (LIBFUSE_TARBALL=FILE)" >&2
    exit 1
  fi
fi
sha256sum --check --status <<< "$sha256  $tarball" || { echo "build-libfuse.sh: $tarball has another hash" >&2; exit 1; }

mkdir "$work/source"
tar -C "$work/source" --strip-components=1 -xzf "$tarball"
rm -rf "$prefix"
# It looks for fusermount3 in bindir, and for fuse.conf in sysconfdir; nothing is installed there.
build() {
  meson setup --prefix "$prefix" --libdir lib --bindir /usr/bin --sysconfdir /etc --buildtype release -Ddefault_library=static \
    -Dutils=false -Dexamples=false -Dtests=false "$work/build" "$work/source" &&
    meson install -C "$work/build"
}
if ! build > "$work/build.log" 2>&1; then
  tail -n 40 "$work/build.log" >&2
  echo "build-libfuse.sh: the build failed" >&2
  exit 1
fi
if ! grep -q '^#define HAVE_URING' "$work/build/fuse_config.h"; then
  rm -rf "$prefix"
  echo "build-libfuse.sh: libfuse left io_uring out" >&2
  exit 1
fi
echo "build-libfuse.sh: libfuse $version with io_uring is in $prefix"
