# lrufs_library(NAME): the sources directly in the current folder, as a static library with the alias lrufs::NAME.
# A folder that has no sources yet becomes an interface library, so that everything above it still configures.
# Sets lrufs_scope to PUBLIC or INTERFACE for the caller's target_* commands.
macro(lrufs_library name)
  file(GLOB lrufs_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cc")
  if(lrufs_sources)
    add_library(${name} STATIC ${lrufs_sources})
    set(lrufs_scope PUBLIC)
    target_link_libraries(${name} PUBLIC lrufs_options PRIVATE lrufs_warnings)
  else()
    message(STATUS "lrufs: no sources in ${CMAKE_CURRENT_SOURCE_DIR} yet")
    add_library(${name} INTERFACE)
    set(lrufs_scope INTERFACE)
    target_link_libraries(${name} INTERFACE lrufs_options)
  endif()
  add_library(lrufs::${name} ALIAS ${name})
endmacro()
