dt_test(export/targets_test)
dt_test(export/peer_test)
dt_test(export/trtllm_test LIBS PkgConfig::jansson)
dt_test(export/agreement_test)
