dt_test(models/build_test)
dt_test(models/pictures_test)
dt_test(models/dual_encoder_test)
