dt_test(tensor/dtype_test)
dt_test(tensor/shape_test)
dt_test(tensor/convert_test)
dt_test(tensor/blocks_test LIBS PkgConfig::jansson)
