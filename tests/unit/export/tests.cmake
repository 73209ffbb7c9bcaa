dt_test(export/targets_test)
