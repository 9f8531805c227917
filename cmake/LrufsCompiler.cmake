# Language, optimisation, warnings, sanitizers: the interface targets lrufs_options and lrufs_warnings.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g")
if(LRUFS_SANITIZE)
  set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")
else()
  set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
endif()

find_program(LRUFS_CCACHE ccache)
mark_as_advanced(LRUFS_CCACHE)
if(LRUFS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${LRUFS_CCACHE}")
endif()

# --- warnings: our own targets only -------------------------------------------------------------------------------
add_library(lrufs_warnings INTERFACE)
target_compile_options(lrufs_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual -Wimplicit-fallthrough
  -Wno-missing-field-initializers)  # partial designated initializers are meant
if(LRUFS_WERROR)
  target_compile_options(lrufs_warnings INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Middle-end warnings of GCC 12 that have known false positives: shown, but no error.
  target_compile_options(lrufs_warnings INTERFACE
    -Wno-restrict -Wno-error=maybe-uninitialized -Wno-error=array-bounds
    -Wno-error=stringop-overflow -Wno-error=stringop-overread)
  if(LRUFS_SANITIZE)
    target_compile_options(lrufs_warnings INTERFACE -Wno-maybe-uninitialized -Wno-error=tsan)
  endif()
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(lrufs_warnings INTERFACE -Wthread-safety -Werror=thread-safety)
endif()

# --- options: everything that must be the same in all targets -----------------------------------------------------
add_library(lrufs_options INTERFACE)
target_compile_definitions(lrufs_options INTERFACE _FILE_OFFSET_BITS=64)
target_include_directories(lrufs_options INTERFACE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}/generated")
# No path of this machine in what is shipped, so that two builds give the same bytes (tests/mount/package_reproducible.py).
# The last one that matches wins.
target_compile_options(lrufs_options INTERFACE "$<$<CONFIG:Release>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.>"
  "$<$<CONFIG:Release>:-ffile-prefix-map=${PROJECT_BINARY_DIR}=./build>")
if(LRUFS_FAULTS)
  target_compile_definitions(lrufs_options INTERFACE LRUFS_FAULTS=1)
endif()

set(LRUFS_TEST_ENV "")     # environment of every test
set(LRUFS_TEST_PREFIX "")  # command line that every C++ test is run under
if(LRUFS_SANITIZE)
  target_compile_options(lrufs_options INTERFACE
    -fsanitize=${LRUFS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(lrufs_options INTERFACE -fsanitize=${LRUFS_SANITIZE})
  list(APPEND LRUFS_TEST_ENV
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
    "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:history_size=4")
  if(LRUFS_SANITIZE MATCHES "thread")
    # The TSan runtimes of GCC 12 and clang 14 refuse the address layouts of kernels with vm.mmap_rnd_bits > 28.
    find_program(LRUFS_SETARCH setarch)
    mark_as_advanced(LRUFS_SETARCH)
    if(LRUFS_SETARCH)
      execute_process(COMMAND "${LRUFS_SETARCH}" -R true RESULT_VARIABLE rc OUTPUT_QUIET ERROR_QUIET)
      if(rc EQUAL 0)
        set(LRUFS_TEST_PREFIX "${LRUFS_SETARCH}" -R)
      endif()
    endif()
  endif()
endif()

if(LRUFS_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "LRUFS_FUZZ needs clang (cmake --preset fuzz)")
  endif()
  target_compile_options(lrufs_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
