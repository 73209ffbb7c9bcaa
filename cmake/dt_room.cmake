# dt_room(NAME SOURCES a.c b.c ... [USES base tensor ...] [HEADERS status.h ...])
#
# One floor of src/ as an object library that can include only what it says it stands on.
# A room compiles with one include directory of its own, build/rooms/NAME, which holds a link to
# each room in USES (and to itself) and, under drivetrain/, the public headers those rooms own.
# An include from a floor that is not named there does not resolve, so it fails to build.
#
#   SOURCES  files of the room, relative to src/NAME
#   USES     every room below that it may include; listed in full, since headers include headers
#   HEADERS  the public headers (include/drivetrain/) that belong to this room
#   LINKS    imported targets of libraries that only this room calls
function(dt_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;USES;HEADERS;LINKS" ${ARGN})
  set(view ${CMAKE_BINARY_DIR}/rooms/${name})
  file(REMOVE_RECURSE ${view})
  file(MAKE_DIRECTORY ${view}/drivetrain)
  set_property(GLOBAL PROPERTY dt_headers_${name} ${ROOM_HEADERS})
  foreach(room IN LISTS ROOM_USES ITEMS ${name})
    get_property(known GLOBAL PROPERTY dt_headers_${room} SET)
    if(NOT known)
      message(FATAL_ERROR "room ${name} uses ${room}, which is not a floor below it")
    endif()
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/src/${room} ${view}/${room} SYMBOLIC)
    get_property(headers GLOBAL PROPERTY dt_headers_${room})
    foreach(header IN LISTS headers)
      file(CREATE_LINK ${CMAKE_SOURCE_DIR}/include/drivetrain/${header} ${view}/drivetrain/${header} SYMBOLIC)
    endforeach()
  endforeach()
  list(TRANSFORM ROOM_SOURCES PREPEND ${CMAKE_SOURCE_DIR}/src/${name}/)
  add_library(dt_${name} OBJECT ${ROOM_SOURCES})
  target_include_directories(dt_${name} PRIVATE ${view})
  target_link_libraries(dt_${name} PRIVATE dt_flags ${ROOM_LINKS})
  set_property(GLOBAL APPEND PROPERTY dt_rooms ${name})
  set_property(GLOBAL APPEND PROPERTY dt_links ${ROOM_LINKS})
endfunction()
