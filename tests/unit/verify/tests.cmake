dt_test(verify/compare_test)
dt_test(verify/rows_test)
dt_test(verify/verify_test)
dt_test(verify/towers_test)
