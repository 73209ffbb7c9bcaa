dt_test(inference/generate_test LIBS PkgConfig::jansson)
