# The two libraries, the program, and what `install` puts where.
#
# Both libraries hold every room but cli. The shared one exports exactly the functions that the public headers
# declare; the linker script that says so is derived from them, so that there is no second list to keep.
get_property(rooms GLOBAL PROPERTY dt_rooms)
get_property(links GLOBAL PROPERTY dt_links)
list(REMOVE_DUPLICATES links)
set(objects)
foreach(room IN LISTS rooms)
  if(NOT room STREQUAL cli)
    list(APPEND objects $<TARGET_OBJECTS:dt_${room}>)
  endif()
endforeach()

file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/drivetrain/*.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
set(exports)
foreach(header IN LISTS headers)
  file(READ ${header} text)
  string(REGEX REPLACE ";" "\n" text "${text}")
  string(REGEX REPLACE "/\\*([^*]|\\*+[^*/])*\\*+/" " " text "${text}")
  string(REGEX REPLACE "#[^\n]*(\\\\\n[^\n]*)*" " " text "${text}")
  string(REGEX MATCHALL "[ *]dt_[a-z0-9_]+\\(" calls "${text}")
  list(APPEND exports ${calls})
endforeach()
list(TRANSFORM exports REPLACE "[ *(]" "")
list(REMOVE_DUPLICATES exports)
list(SORT exports)
list(JOIN exports ";\n    " exports)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/drivetrain.map
     CONTENT "{\n  global:\n    @exports@;\n  local: *;\n};\n" @ONLY)

add_library(drivetrain_static STATIC ${objects})
add_library(drivetrain_shared SHARED ${objects})
set_target_properties(drivetrain_static drivetrain_shared PROPERTIES OUTPUT_NAME drivetrain)
set_target_properties(drivetrain_shared PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS ${PROJECT_BINARY_DIR}/drivetrain.map)
target_link_options(drivetrain_shared PRIVATE
  -Wl,--version-script=${PROJECT_BINARY_DIR}/drivetrain.map -Wl,-Bsymbolic-functions)
foreach(library drivetrain_static drivetrain_shared)
  target_include_directories(${library} INTERFACE ${PROJECT_SOURCE_DIR}/include)
endforeach()
target_link_libraries(drivetrain_static PUBLIC ${links} Threads::Threads m)
target_link_libraries(drivetrain_shared PRIVATE ${links} Threads::Threads m)

if(cli IN_LIST rooms)
  add_executable(drivetrain $<TARGET_OBJECTS:dt_cli>)
  target_link_libraries(drivetrain PRIVATE drivetrain_static)
  if(edit_FOUND)
    target_link_libraries(drivetrain PRIVATE PkgConfig::edit)
  endif()
  install(TARGETS drivetrain)
endif()

# Scripts that ask other runtimes about an export (`export --check peer`); the built program finds them beside itself.
file(GLOB peers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/peers/*.py)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/drivetrain)
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/tools/peers ${PROJECT_BINARY_DIR}/share/drivetrain/peers SYMBOLIC)
install(FILES ${peers} DESTINATION ${CMAKE_INSTALL_DATADIR}/drivetrain/peers)

set(dt_image_packages "")
foreach(package jpeg:libjpeg png:libpng "webp:libwebp libwebpdemux")
  string(REGEX REPLACE ":.*" "" found ${package})
  string(REGEX REPLACE ".*:" "" names ${package})
  if(${found}_FOUND)
    string(APPEND dt_image_packages " ${names}")
  endif()
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/cmake/drivetrain.pc.in ${PROJECT_BINARY_DIR}/drivetrain.pc @ONLY)
install(TARGETS drivetrain_static drivetrain_shared)
install(DIRECTORY include/drivetrain DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/drivetrain.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
