# What the libfuse that was found can do. Sets LRUFS_FUSE_IO_URING.

# libfuse leaves io_uring out silently where liburing is missing, and its headers do not show it; what it was linked
# with does: among the libraries (static), or as a private requirement (shared).
set(LRUFS_FUSE_IO_URING OFF)
pkg_get_variable(lrufs_fuse_prefix fuse3 prefix)
execute_process(
  COMMAND "${PKG_CONFIG_EXECUTABLE}" --print-requires --print-requires-private
          "${lrufs_fuse_prefix}/lib/pkgconfig/fuse3.pc"
  OUTPUT_VARIABLE lrufs_fuse_requires ERROR_QUIET)
if("uring" IN_LIST fuse3_LIBRARIES OR lrufs_fuse_requires MATCHES "liburing")
  set(LRUFS_FUSE_IO_URING ON)
endif()
message(STATUS "lrufs: libfuse ${fuse3_VERSION}, io_uring ${LRUFS_FUSE_IO_URING}")
