# dt_room(NAME SOURCES a.c sub/b.c ... [USES base tensor ...] [HEADERS status.h ...] [LINKS PkgConfig::x ...])
#
# One floor of src/ as an object library that can include only what it says it stands on.
# A room compiles with one include directory of its own, build/rooms/NAME, which holds a link to
# each room in USES (and to itself) and, under drivetrain/, the public headers those rooms own.
# An include from a floor that is not named there does not resolve, so it fails to build.
#
#   SOURCES  files of the room, relative to src/NAME
#   USES     every room below that it may include; listed in full, since headers include headers
#   HEADERS  the public headers (include/drivetrain/) that belong to this room
#   LINKS    imported targets of libraries that this room calls; rooms above see their headers
function(dt_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;USES;HEADERS;LINKS" ${ARGN})
  if(ROOM_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "room ${name}: what is ${ROOM_UNPARSED_ARGUMENTS}?")
  endif()
  set(view ${PROJECT_BINARY_DIR}/rooms/${name})
  file(REMOVE_RECURSE ${view})
  file(MAKE_DIRECTORY ${view}/drivetrain)
  set_property(GLOBAL PROPERTY dt_headers_${name} "${ROOM_HEADERS}")
  set_property(GLOBAL PROPERTY dt_links_${name} "${ROOM_LINKS}")
  get_property(rooms GLOBAL PROPERTY dt_rooms)
  set(links)
  foreach(room IN LISTS ROOM_USES ITEMS ${name})
    if(NOT room STREQUAL name AND NOT room IN_LIST rooms)
      list(FIND dt_floors ${room} used)
      list(FIND dt_floors ${name} own)
      if(used LESS 0 OR NOT used LESS own)
        message(FATAL_ERROR "room ${name} uses ${room}, which is not a floor below it")
      endif()
      message(WARNING "room ${name} is left out: it uses ${room}, which is not built")
      return()
    endif()
    file(CREATE_LINK ${PROJECT_SOURCE_DIR}/src/${room} ${view}/${room} SYMBOLIC)
    get_property(headers GLOBAL PROPERTY dt_headers_${room})
    foreach(header IN LISTS headers)
      file(CREATE_LINK ${PROJECT_SOURCE_DIR}/include/drivetrain/${header} ${view}/drivetrain/${header} SYMBOLIC)
    endforeach()
    get_property(room_links GLOBAL PROPERTY dt_links_${room})
    list(APPEND links ${room_links})
  endforeach()
  list(REMOVE_DUPLICATES links)
  list(TRANSFORM ROOM_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/src/${name}/)
  add_library(dt_${name} OBJECT ${ROOM_SOURCES})
  target_include_directories(dt_${name} PRIVATE ${view})
  target_link_libraries(dt_${name} PRIVATE dt_flags ${links})
  set_property(GLOBAL APPEND PROPERTY dt_rooms ${name})
  set_property(GLOBAL APPEND PROPERTY dt_links ${ROOM_LINKS})
endfunction()

# dt_source_flags(ROOM "-mavx2 -mfma" a_avx2.c ...): extra compile flags for some of a room's files, which is how
# instruction-set variants are built. Call it in the same room.cmake, before or after dt_room. Headers that such
# a file includes must hold no inline function that other files use too: the linker could keep the wrong copy.
function(dt_source_flags room flags)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/src/${room}/)
  set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS "${flags}")
endfunction()
