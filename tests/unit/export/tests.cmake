dt_test(export/targets_test)
dt_test(export/peer_test)
