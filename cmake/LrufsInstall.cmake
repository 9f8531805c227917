# Where things are installed. Two components: `program` (the package lrufs) and `development` (liblrufs-store-dev).
# The same build tree is installed below /usr/local and packed for /usr, so what depends on the prefix is made at the
# time of installing (cmake/install_generated.cmake.in).

# Debian's compilers, pkg-config and CMake look into lib/<triplet> below /usr and below /usr/local.
if(CMAKE_LIBRARY_ARCHITECTURE AND EXISTS "/etc/debian_version")
  set(CMAKE_INSTALL_LIBDIR "lib/${CMAKE_LIBRARY_ARCHITECTURE}" CACHE STRING "Where libraries go, below the prefix")
endif()
# One place for the configuration of services, wherever the program is.
set(CMAKE_INSTALL_SYSCONFDIR "/etc" CACHE STRING "Where the configuration of services is")
include(GNUInstallDirs)
set(LRUFS_UNIT_DIR "lib/systemd/system" CACHE STRING "Where systemd's units go, below the prefix")

set(LRUFS_MAINTAINER "lrufs maintainers <maintainers@lrufs.invalid>" CACHE STRING "Who answers for the packages")

# lrufs_public_headers(OUT HEADER...): these headers and all of ours that they include, as paths from the top.
function(lrufs_public_headers out)
  set(todo ${ARGN})
  set(found "")
  while(todo)
    list(POP_FRONT todo header)
    if(header IN_LIST found)
      continue()
    endif()
    list(APPEND found "${header}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${header}")
    file(STRINGS "${PROJECT_SOURCE_DIR}/${header}" lines REGEX "^#include \"[^\"]+\"")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "^#include \"([^\"]+)\".*" "\\1" included "${line}")
      list(APPEND todo "${included}")
    endforeach()
  endwhile()
  list(SORT found)
  set(${out} "${found}" PARENT_SCOPE)
endfunction()
