# cpack: two Debian packages (lrufs, liblrufs-store-dev) and one archive with both, of what the build made, for /usr.
#   cpack --config build/release/CPackConfig.cmake -B OUT
# Two runs give the same bytes (LrufsPackageDate.cmake; -ffile-prefix-map in LrufsCompiler.cmake).
set(CPACK_PACKAGE_NAME lrufs)
set(CPACK_PACKAGE_VENDOR "lrufs")
set(CPACK_PACKAGE_CONTACT "${LRUFS_MAINTAINER}")
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_FILE_NAME "lrufs-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "directory that never fills up, kept in one file")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX "/usr")
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_INCLUDE_TOPLEVEL_DIRECTORY OFF)
set(CPACK_PROJECT_CONFIG_FILE "${PROJECT_BINARY_DIR}/LrufsPackageDate.cmake")
configure_file("${PROJECT_SOURCE_DIR}/cmake/LrufsPackageDate.cmake.in" "${CPACK_PROJECT_CONFIG_FILE}" @ONLY)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME lrufs)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "fuse3")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_CONTROL_EXTRA "${PROJECT_SOURCE_DIR}/deploy/debian/postinst"
  "${PROJECT_SOURCE_DIR}/deploy/debian/prerm" "${PROJECT_SOURCE_DIR}/deploy/debian/postrm")
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "lrufs mounts one store file as a directory whose size on disk is bounded: when
it is full, the least recently used files make room. What was in it is still
there after an unmount, a daemon that was killed or a power cut.

It is made for caches on a local disk: build artefacts, packages, rendered
pages, thumbnails, downloads. This package has the program, the helper of
mount(8) and a unit for systemd.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME liblrufs-store-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "lrufs is a directory that never fills up, kept in one file. This is its store
by itself, for C++ programs that want such a cache without a mount: a static
library, its headers, and files for CMake and pkg-config.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libxxhash-dev, libexpected-dev")
include(CPack)
