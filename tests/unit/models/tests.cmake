dt_test(models/build_test)
