# dt_test(ROOM/NAME [SOURCES more.c ...] [LABELS threads ...] [LIBS ...] [WRAP calloc ...])
#
# tests/unit/ROOM/NAME.c as a program, linked to the static library and cmocka; it may include any room. ctest
# then knows every test function by its name (`ctest -R arena__zeroes`), each run in a process of its own with
# DT_TEST set to it (tests/unit/pick.c hands that to cmocka). A file whose table holds anything but
# cmocka_unit_test* of functions named x__y is registered as one ctest test instead, so that none is lost.
#
#   SOURCES  helper files, relative to tests/unit
#   LABELS   ctest labels; `threads` marks what runs under ThreadSanitizer in CI
#   WRAP     symbols for the linker's --wrap, to make calls fail on purpose
function(dt_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;LABELS;LIBS;WRAP" ${ARGN})
  string(REPLACE "/" "_" target "test_${name}")
  set(source ${PROJECT_SOURCE_DIR}/tests/unit/${name}.c)
  list(TRANSFORM TEST_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/tests/unit/)
  add_executable(${target} ${source} ${TEST_SOURCES})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include
                             ${PROJECT_SOURCE_DIR}/tests/unit)
  target_compile_options(${target} PRIVATE -Wno-unused-parameter -UNDEBUG)
  target_link_libraries(${target} PRIVATE dt_flags dt_test_pick drivetrain_static PkgConfig::cmocka ${TEST_LIBS})
  foreach(symbol IN LISTS TEST_WRAP)
    target_link_options(${target} PRIVATE -Wl,--wrap=${symbol})
  endforeach()
  dt_test_names(functions ${source})
  if(functions)
    foreach(function IN LISTS functions)
      dt_register_test(${function} ${target} "${TEST_LABELS}" DT_TEST=${function})
    endforeach()
  else()
    dt_register_test(${name} ${target} "${TEST_LABELS}")
  endif()
endfunction()

function(dt_register_test name target labels)
  add_test(NAME ${name} COMMAND ${target} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "${dt_test_environment};${ARGN}" LABELS "${labels}" TIMEOUT 600
    FAIL_REGULAR_EXPRESSION "Running 0 test")
  if(ARGN) # a whole file with one skipped test among others is not itself skipped
    set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
  endif()
endfunction()

# The test functions of a file, or nothing when its table holds more than a list of them.
function(dt_test_names out source)
  set(${out} "" PARENT_SCOPE)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(READ ${source} text)
  string(REPLACE ";" " " text "${text}")
  string(REGEX MATCHALL "CMUnitTest" tables "${text}")
  string(REGEX MATCHALL "static void [a-z0-9_]+__[a-z0-9_]+\\(void \\*\\*" defined "${text}")
  string(REGEX MATCHALL "cmocka_unit_test[a-z_]*\\([ \n]*[A-Za-z0-9_]+" listed "${text}")
  list(TRANSFORM defined REPLACE "static void ([a-z0-9_]+)\\(.*" "\\1")
  list(TRANSFORM listed REPLACE ".*\\([ \n]*" "")
  list(SORT defined)
  list(SORT listed)
  list(LENGTH tables table_count)
  if(table_count EQUAL 1 AND defined AND "${defined}" STREQUAL "${listed}")
    set(${out} "${listed}" PARENT_SCOPE)
  endif()
endfunction()
