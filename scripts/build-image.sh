#!/usr/bin/env bash
# Build the container image of lrufs (deploy/Containerfile) on Debian 12 without any registry. As root.
#   scripts/build-image.sh [OPTION...]
#     --binary FILE     pack this program, built on this machine, with its libraries; seconds. Without it: build it anew, on a
#                       Debian 12 made by debootstrap from this machine's apt mirror, with libfuse 3.18; some minutes
#     --archive FILE    where the image goes (default: build/image/lrufs.tar), for podman load, docker load, ctr images import
#     --format FORMAT   of the archive: docker (the default; all of these read it) or oci
#     --tag NAME        its name in there (default: localhost/lrufs:latest)
#     --work FOLDER     for all that is made on the way (default: build/image); the Debian base is kept there, and used again
# The containers' storage of the system is not touched. Needs buildah, and busybox-static or debootstrap:
# scripts/setup.sh --image.
set -euo pipefail

usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
binary='' archive='' format=docker tag=localhost/lrufs:latest work=$root/build/image
while (( $# )); do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --binary | --archive | --format | --tag | --work)
      if (( $# < 2 )); then echo "build-image.sh: $1 needs a value" >&2; exit 2; fi
      declare "${1#--}=$2"
      shift 2 ;;
    *) usage >&2; exit 2 ;;
  esac
done
case $format in docker | oci) ;; *) echo "build-image.sh: --format is docker or oci" >&2; exit 2 ;; esac
if (( $(id -u) != 0 )); then echo "build-image.sh: run it as root" >&2; exit 1; fi
need=(buildah)
if [[ -n $binary ]]; then need+=(busybox); else need+=(debootstrap); fi
for tool in "${need[@]}"; do
  command -v "$tool" > /dev/null || { echo "build-image.sh: no $tool: scripts/setup.sh --image" >&2; exit 1; }
done
mkdir -p "$work"
work=$(realpath "$work")
archive=$(realpath -m "${archive:-$work/lrufs.tar}")
if [[ -n $binary ]]; then
  if [[ ! -x $binary ]]; then echo "build-image.sh: no program at $binary" >&2; exit 1; fi
  binary=$(realpath "$binary")
fi

# All of buildah's in a folder of this run, which goes whatever happens; the base, which takes long, stays beside it.
run=$(mktemp -d "$work/run.XXXXXX")
finish() {
  local path
  buildah_here rm --all > /dev/null 2>&1 || true
  # Mounts that a build which was killed has left.
  awk -v below="$run/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while IFS= read -r path; do
    umount -l "$path" || true
  done
  rm -rf --one-file-system "$run"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$run/tmp"
export TMPDIR=$run/tmp
# vfs works everywhere, and the image is small; what apt installs in the build stage is copied once a layer.
buildah_here() { buildah --root "$run/root" --runroot "$run/runroot" --storage-driver vfs "$@"; }
policy=$run/policy.json
echo '{ "default": [{ "type": "insecureAcceptAnything" }] }' > "$policy"

options=(--file "$root/deploy/Containerfile" --tag "$tag" --isolation chroot --network host --pull-never
  --signature-policy "$policy" --format docker)
if [[ -n $binary ]]; then
  # The second stage alone: what it copies from the first one is here already.
  "$root/deploy/image-root.sh" "$binary" "$run/files/out"
  options+=(--target runtime --build-context "build=$run/files")
else
  base=$work/debian-12.tar
  if [[ ! -s $base ]]; then
    # The mirror of this machine's apt that has bookworm's packages; security updates and such have others.
    mirror=
    while read -r uri release; do
      if [[ $release == bookworm ]]; then mirror=$uri; break; fi
    done < <(apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' 2> /dev/null | sort -u)
    echo "build-image.sh: Debian 12 from ${mirror:=http://deb.debian.org/debian}"
    debootstrap --variant=minbase bookworm "$run/debian" "$mirror" > "$run/debootstrap.log" 2>&1 ||
      { tail -n 20 "$run/debootstrap.log" >&2; echo "build-image.sh: debootstrap failed" >&2; exit 1; }
    tar -C "$run/debian" -cf "$base.part" . && mv "$base.part" "$base"
    rm -rf --one-file-system "$run/debian"
  fi
  mkdir "$run/base"
  cp "$base" "$run/base/debian.tar"
  printf 'FROM scratch\nADD debian.tar /\n' > "$run/base/Containerfile"
  buildah_here build --quiet --isolation chroot --signature-policy "$policy" --tag localhost/debian:12 "$run/base" > /dev/null
  rm -rf "$run/base"
  options+=(--build-arg DEBIAN=localhost/debian:12)
fi
if ! buildah_here build "${options[@]}" "$root" > "$run/build.log" 2>&1; then
  tail -n 40 "$run/build.log" >&2
  echo "build-image.sh: the build failed" >&2
  exit 1
fi
mkdir -p "$(dirname "$archive")"
rm -f "$archive"
buildah_here push --quiet --signature-policy "$policy" "$tag" "$format-archive:$archive:$tag" > /dev/null
echo "build-image.sh: $tag is in $archive ($(du -h "$archive" | cut -f 1))"
