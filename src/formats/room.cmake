dt_room(formats USES base tensor graph nn models
  SOURCES stored_set.c stored_tiling.c stored_read.c
    safetensors/read.c safetensors/write.c
    torch/zip.c torch/pickle.c torch/pickle_call.c torch/pickle_value.c torch/torch_file.c torch/torch_tensor.c
    megatron/distcp.c
    mapping.c names.c bind.c check.c checkpoint.c export.c
    hf/families.c hf/shared.c hf/gpt2.c hf/llama.c hf/t5.c hf/open.c hf/write.c
    megatron/config.c megatron/layout.c megatron/state.c
  HEADERS checkpoint.h
  LINKS PkgConfig::jansson)
