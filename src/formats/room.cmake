dt_room(formats USES base tensor
  SOURCES stored_set.c stored_tiling.c stored_read.c
    safetensors/read.c safetensors/write.c
    torch/zip.c torch/pickle.c torch/pickle_call.c torch/pickle_value.c torch/torch_file.c torch/torch_tensor.c
    megatron/distcp.c)
