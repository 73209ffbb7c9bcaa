dt_test(nn/config_test)
dt_test(nn/parts_test)
dt_test(nn/rope_test LIBS PkgConfig::jansson)
