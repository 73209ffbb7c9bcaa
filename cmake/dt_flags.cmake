# dt_flags: how every file of the project is compiled.
#
# Numbers come first: no -ffast-math and no contraction, so that a sum has one value whichever compiler and
# instruction set runs it (kernels that want fused multiply-add ask for it by name). errno and floating-point
# traps are not used, which lets compilers vectorise around sqrtf and comparisons. Never -march=native:
# instruction sets are chosen at run time, file by file (dt_source_flags in dt_room.cmake).
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_FLAGS_RELEASE "-O3 -DNDEBUG")

add_library(dt_flags INTERFACE)
target_compile_definitions(dt_flags INTERFACE _GNU_SOURCE)
target_compile_options(dt_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
  -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wformat=2
  # gcc's guesses that change with -O: the one fires where a cut is meant, the other wherever a value is set by a
  # call that returns DT_OK, since it cannot see that dt_fail never does. clang's flow analysis stays on.
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
  -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-semantic-interposition)
if(DT_WERROR OR "$ENV{DT_WERROR}")
  target_compile_options(dt_flags INTERFACE -Werror)
endif()
if(DT_SANITIZE)
  # Directory-wide rather than in dt_flags: everything linked has to agree on a sanitizer.
  add_compile_options(-fsanitize=${DT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${DT_SANITIZE})
endif()
