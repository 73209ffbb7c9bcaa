# The cpu backend's files, and the flags of those that are compiled for one instruction set. What such a file includes
# is static throughout (vec.h), so no code of a newer instruction set can be linked into an older path.
set(dt_cpu_sources cpu/cpu.c cpu/forms.c cpu/fuse.c cpu/isa_baseline.c)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND dt_cpu_sources cpu/isa_avx2.c cpu/isa_avx512.c cpu/isa_avx512bf16.c)
  set(dt_avx2 -mavx2 -mfma -mf16c)
  set(dt_avx512 ${dt_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/isa_avx2.c PROPERTIES COMPILE_OPTIONS "${dt_avx2}")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/isa_avx512.c PROPERTIES COMPILE_OPTIONS "${dt_avx512}")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/isa_avx512bf16.c PROPERTIES COMPILE_OPTIONS
                              "${dt_avx512};-mavx512bf16;-mavx512vnni")
endif()

# No parser reaches the kernels, and clang 14 takes minutes to put sanitizers into them: the suite under asan covers them.
if(DT_FUZZ)
  file(GLOB dt_kernels ${CMAKE_CURRENT_LIST_DIR}/isa_*.c)
  set_property(SOURCE ${dt_kernels} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=all)
endif()
