#!/usr/bin/env bash
# Build lrufs and run its tests. Stops at the first stage that fails; the last lines are ctest's summary.
#   scripts/test.sh [--fast] [--sanitize] [--long] [CTEST ARGUMENTS]
#
# Stages: tsan     ThreadSanitizer: concurrency tests, on a smaller budget
#         asan     AddressSanitizer and UBSan: unit, model, fault, format and concurrency tests (with the built-in faults)
#         clang    clang's thread safety analysis: libraries and program, no tests
#         libfuse318  the mount tests once more, on a program that is linked with libfuse 3.18 (scripts/build-libfuse.sh)
#         fuzz     each target of tests/fuzz for LRUFS_FUZZ_SECONDS (default 180), from its corpus in tests/fuzz/corpus
#         release  everything but the tests labelled long
#
# Without options: tsan and release. That is what continuous integration runs.
#   --fast       the release stage alone
#   --sanitize   asan and clang as well
#   --long       all stages, the sanitizers on the full budget, fuzzing, the tests labelled long, and more rounds of
#                the random ones; 10,000 damages (1,000 with AddressSanitizer, which is ten times slower)
# Other arguments go to ctest in the release stage, as in: scripts/test.sh --fast -L unit
# LRUFS_JOBS is the number of tests that run at a time (default 2).
set -euo pipefail

run_asan=0 run_tsan=1 run_clang=0 run_libfuse=0 run_fuzz=0 scale=${LRUFS_TEST_SCALE:-0.2}
select=(-LE '^long$')
arguments=()
for argument in "$@"; do
  case "$argument" in
    --fast) run_tsan=0 ;;
    --sanitize) run_asan=1 run_clang=1 ;;
    --long) run_asan=1 run_clang=1 run_libfuse=1 run_fuzz=1 scale=1 select=(); export LRUFS_LONG=1 LRUFS_TEST_DAMAGES=10000 ;;
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) arguments+=("$argument") ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${LRUFS_JOBS:-2}

scripts/setup.sh
# Containers, for the tests of them, which are long.
if (( ${#select[@]} == 0 )); then scripts/setup.sh --image; fi
if (( run_libfuse )); then scripts/setup.sh --libfuse; fi

# stage NAME: announces a stage, and closes the one before it.
stage_name=
stage_start=0
finish_stage() {
  if [[ -n $stage_name && ${CI:-} == true ]]; then
    echo "== $stage_name: $((SECONDS - stage_start)) s"
  fi
}
stage() {
  finish_stage
  stage_name=$1
  stage_start=$SECONDS
  echo "== $stage_name"
}

# build PRESET [OPTION...] [-- TARGET...]: configures and builds; shows the output only when it fails.
build() {
  local preset=$1 options=() log=build/$1.log
  shift
  while (( $# )) && [[ $1 != -- ]]; do options+=("$1"); shift; done
  if (( $# )); then shift; fi
  mkdir -p build
  if ! { cmake --preset "$preset" "${options[@]}" &&
         cmake --build --preset "$preset" ${1:+--target "$@"}; } > "$log" 2>&1; then
    grep -E -A5 'error|Error|FAILED' "$log" | head -n 60 || true
    tail -n 20 "$log"
    echo "== $stage_name: the build failed (build/$preset.log)"
    exit 1
  fi
  # GCC's doubtful warnings are no errors, but they are shown.
  grep -E 'warning:' "$log" | sort -u | head -n 20 || true
}

run_ctest() {
  local preset=$1
  shift
  ctest --test-dir "build/$preset" --output-on-failure --parallel "$jobs" --no-tests=error "$@"
}

if (( run_asan )); then
  stage asan
  build asan -DLRUFS_TESTS=ON -- tests_unit tests_model tests_fault tests_format tests_concurrency
  (
    export LRUFS_TEST_SCALE=$scale
    if (( run_fuzz )); then export LRUFS_TEST_DAMAGES=1000; fi
    run_ctest asan -L '^(unit|model|fault|format|concurrency)$' -LE '^long$'
  )
fi

if (( run_tsan )); then
  stage tsan
  build tsan -DLRUFS_TESTS=ON -- tests_concurrency
  LRUFS_TEST_SCALE=$scale run_ctest tsan -L '^concurrency$' -LE '^long$'
fi

if (( run_clang )); then
  stage clang
  build clang
fi

if (( run_libfuse )); then
  stage libfuse318
  scripts/build-libfuse.sh > build/libfuse-3.18.log 2>&1 || { tail -n 20 build/libfuse-3.18.log; exit 1; }
  build libfuse318 -DLRUFS_TESTS=OFF -DLRUFS_BENCH=OFF
  (unset LRUFS_LONG; run_ctest libfuse318 -L '^mount$' -LE '^long$')
fi

if (( run_fuzz )); then
  stage fuzz
  targets=(tests/fuzz/*.cc)
  targets=("${targets[@]##*/}")
  targets=("${targets[@]%.cc}")
  build fuzz -- "${targets[@]/#/fuzz_}"
  for target in "${targets[@]}"; do
    # What is found on the way stays in build/ and is where the next run begins; an input that fails is kept there, too, and
    # named. (To add to what the repository keeps: -merge=1 tests/fuzz/corpus/TARGET build/fuzz/corpus/TARGET; small inputs only.)
    # Entropic schedules would take a quarter of the time of `operations`, whose inputs have 20,000 features each.
    mkdir -p "build/fuzz/corpus/$target"
    "build/fuzz/tests/fuzz/$target" -entropic=0 -max_total_time="${LRUFS_FUZZ_SECONDS:-180}" -timeout=60 -rss_limit_mb=4096 \
      -verbosity=0 -print_final_stats=1 -artifact_prefix="build/fuzz/$target-" "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target"
  done
fi

stage release
build release -DLRUFS_TESTS=ON
if [[ ${CI:-} == true ]]; then echo "== release: built in $((SECONDS - stage_start)) s, all so far $SECONDS s"; fi
run_ctest release "${select[@]}" "${arguments[@]}"
