# What the build itself promises, checked from outside it. Scripts get their paths as arguments.
function(dt_e2e name)
  add_test(NAME e2e__${name} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(e2e__${name} PROPERTIES
    ENVIRONMENT "${dt_test_environment}" LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
endfunction()

set(e2e ${PROJECT_SOURCE_DIR}/tests/e2e)
dt_e2e(floors ${e2e}/floors_test ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
dt_e2e(exports ${e2e}/exports_test $<TARGET_FILE:drivetrain_shared> ${PROJECT_BINARY_DIR}/drivetrain.map)
if(NOT DT_SANITIZE)
  dt_e2e(headers ${e2e}/headers_test ${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER})
  dt_e2e(install ${e2e}/install_test ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
endif()
